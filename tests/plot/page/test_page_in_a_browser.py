"""The page in headless Chromium, driven as a reader's hands would: hover, click, switch, zoom, keys, dark, print."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import signal_tables
import sppkit
from sppkit.plot.page.report import build_page
from sppkit.plot.page.shown_run import ShownRun
from sppkit.plot.span import predicted_band
from sppkit.record.table import build_table, csv_text

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium in PATH")

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Desk:
    """A page that was opened, and everything that went wrong in it or left it."""

    def __init__(self, browser: Browser, path: Path, page: sppkit.Page, **context: Any) -> None:
        page.save(path)
        self.context = browser.new_context(**({"viewport": {"width": 1300, "height": 900}} | context))
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("#signal:not([hidden])", timeout=15_000)

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.wrong == []
        assert [url for url in self.asked if not url.startswith(("file:", "blob:"))] == []
        assert len([url for url in self.asked if url.startswith("file:")]) == 1

    def panel(self, statistic: str) -> Any:
        return self.page.locator(f'figure[data-statistic="{statistic}"] svg.plot')

    def over(self, statistic: str, block: int, last: int) -> tuple[float, float]:
        """Where a block is on the screen."""
        panel = self.panel(statistic)
        panel.scroll_into_view_if_needed()
        box = panel.bounding_box()
        margin = max(0.5, 0.02 * last)
        scale = box["width"] / float(panel.get_attribute("viewBox").split()[2])
        inner = box["width"] - (48 + 8) * scale
        return box["x"] + 48 * scale + (block + margin) / (last + 2 * margin) * inner, box["y"] + box["height"] / 2

    def hover(self, statistic: str, block: int, last: int) -> None:
        self.page.mouse.move(*self.over(statistic, block, last))

    def click(self, statistic: str, block: int, last: int) -> None:
        self.page.mouse.click(*self.over(statistic, block, last))

    @property
    def inspector(self) -> str:
        return str(self.page.locator("#inspector").inner_text())

    def ticks(self, statistic: str) -> list[str]:
        return [str(text) for text in self.panel(statistic).locator("text[text-anchor=end]").all_text_contents()]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Any:
    def open_page(page: sppkit.Page, **context: Any) -> Desk:
        return Desk(browser, tmp_path / "page.html", page, **context)

    return open_page


def predicted(seed: int = 0, mean: float = 0.01) -> pd.DataFrame:
    stages = ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    return signal_tables.table(stages, mean, seed=seed, predicted_channel_variance=2.0,
                               predicted_channel_variance_spread=0.25)  # fmt: skip


def short(value: float) -> str:
    return f"{value:.4g}"


def test_hover_shows_the_numbers_of_the_table_and_theorys_band(opened: Any) -> None:
    table = predicted()
    record = signal_tables.record(signal_tables.NF) | {
        "sources": {"b2": ["nets.py", 12]}, "classes": {"b2": "Bottleneck"}, "joins": {"b2": "branch: conv; skip: add"},
    }  # fmt: skip
    low, high = predicted_band("channel_variance", np.array([2.0]), np.array([0.25]))
    with opened(sppkit.report(table, record=record)) as desk:
        desk.hover("channel_variance", 2, 6)
        told = desk.inspector
        assert "block 2: b2" in told
        for fact in ("stage 1", "64×7×7", "class Bottleneck", "nets.py:12", "branch: conv; skip: add"):
            assert fact in told
        row = table[table["block"] == 2].iloc[0]
        for name in ("channel_squared_mean", "channel_variance", "residual_variance"):
            assert re.search(rf"{name.replace('_', ' ')}\s+{re.escape(short(row[name]))}", told)
        assert f"{low[0]:.3g} to {high[0]:.3g}" in told
        assert desk.page.locator("svg.plot .cursor").count() == 3  # one in every panel
        desk.page.mouse.move(5, 5)
        assert "Move over a panel" in desk.inspector


def test_a_logarithmic_panel_has_theorys_band_of_the_logarithm(opened: Any) -> None:
    m, s = 2.0, 0.25
    # Of a lognormal number: sigma² = log(1 + s²/m²), median m exp(-sigma²/2).
    sigma = math.sqrt(math.log(1 + (s / m) ** 2))
    ends = [m * math.exp(-(sigma**2) / 2 + sign * 2 * sigma) for sign in (-1, 1)]
    with opened(sppkit.report(predicted())) as desk:
        desk.page.get_by_label("Scale").select_option("log")
        desk.hover("channel_variance", 2, 6)
        assert f"{ends[0]:.3g} to {ends[1]:.3g}" in desk.inspector


def test_click_keeps_a_block_with_its_neighbours(opened: Any) -> None:
    with opened(sppkit.report(predicted())) as desk:
        desk.click("channel_variance", 3, 6)
        desk.page.mouse.move(5, 5)
        assert "block 3: b3" in desk.inspector
        told = desk.inspector[desk.inspector.index("beside its neighbours") :]
        assert re.search(r"block\s+2\s+3\s+4", told)
        assert re.search(r"channel variance\s+2\s+3\s+1", told)
        desk.page.get_by_role("button", name="Let go").click()
        assert "Move over a panel" in desk.inspector


def test_keys_move_keep_and_zoom_and_are_spoken(opened: Any) -> None:
    with opened(sppkit.report(predicted())) as desk:
        desk.panel("channel_variance").focus()
        for key in ("Home", "ArrowRight", "ArrowRight"):
            desk.page.keyboard.press(key)
        assert "block 2: b2" in desk.inspector
        assert "block 2, b2. channel squared mean 0.01" in desk.page.locator("#spoken").inner_text()
        desk.page.keyboard.press("Enter")
        assert "beside its neighbours" in desk.inspector
        desk.page.keyboard.press("+")
        assert desk.page.locator("#reset").is_visible()
        for _ in range(3):
            desk.page.keyboard.press("Escape")
        assert not desk.page.locator("#reset").is_visible()
        assert "Move over a panel" in desk.inspector


def test_a_drag_zooms_all_panels_and_a_double_click_undoes_it(opened: Any) -> None:
    stages = (tuple(float(k) for k in range(1, 61)),)
    with opened(sppkit.report(signal_tables.table(stages))) as desk:
        before = desk.ticks("channel_variance")
        desk.page.mouse.move(*desk.over("residual_variance", 10, 60))
        desk.page.mouse.down()
        desk.page.mouse.move(*desk.over("residual_variance", 20, 60), steps=5)
        desk.page.mouse.up()
        assert max(map(float, before)) >= 60
        assert 20 <= max(map(float, desk.ticks("channel_variance"))) < 30
        desk.page.mouse.dblclick(*desk.over("residual_variance", 10, 60))
        assert desk.ticks("channel_variance") == before


def test_runs_are_switched_and_held_against_each_other(opened: Any) -> None:
    base = signal_tables.table(((1.0, 2.0), (1.0, 2.0)))
    double = base.assign(channel_variance=base["channel_variance"] * 2)
    with opened(sppkit.report({"base": base, "double": double})) as desk:
        lines = desk.panel("channel_variance").locator("path.line")
        assert lines.count() == 2
        desk.page.get_by_role("button", name="double").click()
        assert lines.count() == 1
        assert desk.page.get_by_role("button", name="double").get_attribute("aria-pressed") == "false"
        desk.page.get_by_role("button", name="double").click()
        desk.page.get_by_label("Curves").select_option("ratio:0")
        heights = [set(re.findall(r",([\d.]+)", str(line.get_attribute("d")))) for line in lines.all()]
        assert [len(found) for found in heights] == [1, 1]  # both are level: one at 1, the other at 2
        reference = desk.panel("channel_variance").locator("line.reference").get_attribute("y1")
        assert math.isclose(float(heights[0].pop()), float(reference), abs_tol=0.1)
        assert 2.0 in map(float, desk.ticks("channel_variance"))


def test_seeds_are_a_band_or_lines(opened: Any) -> None:
    tables = [predicted(seed).assign(channel_variance=lambda t, seed=seed: t["channel_variance"] * (1 + seed / 10))
              for seed in range(3)]  # fmt: skip
    with opened(sppkit.report(build_table(pd.concat(tables).to_dict("records")))) as desk:
        panel = desk.panel("channel_variance")
        assert (panel.locator("path.band").count(), panel.locator("path.seed").count()) == (1, 0)
        desk.page.get_by_label("Seeds").select_option("lines")
        assert (panel.locator("path.band").count(), panel.locator("path.seed").count()) == (0, 3)
        desk.hover("channel_variance", 2, 6)
        assert re.search(r"channel variance\s+2\.2\s+2 to 2\.4", desk.inspector)


def test_a_line_of_the_verdict_leads_to_its_block(opened: Any) -> None:
    page = sppkit.report(signal_tables.table(mean=9.0), record=signal_tables.record(signal_tables.NF))
    with opened(page) as desk:
        link = desk.page.locator("#verdict a").first
        block = str(link.get_attribute("href")).rsplit("-", 1)[1]
        link.click()
        desk.page.wait_for_function("document.querySelector('#inspector h3')")
        assert f"block {block}: b{block}" in desk.inspector


def test_the_table_is_sorted_and_kept_as_csv(opened: Any, tmp_path: Path) -> None:
    table = signal_tables.table(((3.0, 1.0, 2.0),), lost=3)
    with opened(sppkit.report(table)) as desk:
        desk.page.locator("#numbers summary").click()
        column = list(table.columns).index("channel_variance") + 1
        desk.page.get_by_role("button", name="channel_variance").click()
        cells = desk.page.locator(f"#rows tbody td:nth-child({column})").all_inner_texts()
        assert cells == ["0.36", "1", "2", "3"]
        header = desk.page.locator(f"#rows th:nth-child({column})")
        assert header.get_attribute("aria-sort") == "ascending"
        desk.page.get_by_role("button", name="channel_variance").click()
        assert desk.page.locator(f"#rows tbody td:nth-child({column})").all_inner_texts() == cells[::-1]
        with desk.page.expect_download() as download:
            desk.page.get_by_role("button", name="Download CSV").click()
        download.value.save_as(tmp_path / "kept.csv")
        assert (tmp_path / "kept.csv").read_text(encoding="utf-8") == csv_text(table)


def test_a_training_has_a_slider_and_a_map(opened: Any) -> None:
    steps = [signal_tables.table(((1.0 + step, 2.0 + step),)).assign(step=step) for step in range(0, 50, 10)]
    table = build_table(pd.concat(steps).to_dict("records"))
    with opened(sppkit.report(table)) as desk:
        desk.hover("channel_variance", 2, 2)
        assert re.search(r"channel variance\s+42", desk.inspector)
        desk.page.locator("#step").focus()
        for _ in range(2):
            desk.page.keyboard.press("ArrowLeft")
        assert desk.page.locator("output").inner_text() == "step 20"
        desk.hover("channel_variance", 2, 2)
        assert re.search(r"channel variance\s+22", desk.inspector)
        size = desk.page.evaluate("[map.width, map.height]")
        assert size == [3, 5]  # blocks × steps
        desk.page.get_by_label("Map shows").select_option("channel_variance")
        # Rises from step to step, and viridis with it: the upper row is the lighter one.
        lightness = desk.page.evaluate(
            "(() => { const pixels = map.getContext('2d').getImageData(2, 0, 1, 5).data;"
            "return [0, 4].map((row) => pixels[4 * row] + pixels[4 * row + 1] + pixels[4 * row + 2]); })()"
        )
        assert lightness[0] > lightness[1]


def test_lost_values_are_marked(opened: Any) -> None:
    table = signal_tables.table(((1.0, math.nan, math.nan),), lost=2)
    with opened(sppkit.report(table)) as desk:
        assert "not finite from block 2" in desk.panel("channel_variance").inner_html()
        desk.hover("channel_variance", 3, 3)
        assert "5 values are not finite" in desk.inspector


def test_hostile_runs_do_nothing(opened: Any) -> None:
    for text in (
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a\u2028\u202eb",
        '"><svg onload=alert(1)>',
    ):
        table = signal_tables.table(mean=9.0).assign(name=text)
        record = {"arch": text, text: [text], "classes": {text: text}, "joins": {text: text},
                  "sources": {text: [text, 1]}, "options": {text: {"value": text, "source": text}}}  # fmt: skip
        run = ShownRun(text, table, record)
        with opened(build_page([run, run], title=text)) as desk:
            desk.click("channel_variance", 2, 4)
            desk.page.locator("#numbers summary").click()
            for summary in desk.page.locator("#records summary").all():
                summary.click()
            assert desk.page.locator("img").count() == 0
            assert desk.page.locator("script").count() == 2
            assert "alert(1)" in desk.inspector or "u2028" in desk.inspector


def test_dark_and_print_have_their_colours(opened: Any) -> None:
    def brightness(page: Page) -> float:
        colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(float, re.findall(r"\d+", colour)[:3])) / 3

    page = sppkit.report(predicted())
    with opened(page) as desk:
        assert brightness(desk.page) > 240
    with opened(page, color_scheme="dark") as desk:
        assert brightness(desk.page) < 40
        desk.page.emulate_media(media="print")
        assert brightness(desk.page) > 240
        assert not desk.page.locator("#controls").is_visible()
        assert desk.panel("channel_variance").is_visible()
        assert len(desk.page.pdf()) > 10_000


def test_nothing_is_cut_off_on_a_narrow_screen(opened: Any) -> None:
    with opened(sppkit.report(predicted()), viewport={"width": 360, "height": 640}) as desk:
        desk.page.locator("#numbers summary").click()
        assert desk.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_3000_blocks_are_drawn_and_followed_at_once(opened: Any) -> None:
    stages = tuple(tuple(float(k % 50 + 1) for k in range(1000)) for _ in range(3))
    with opened(sppkit.report(signal_tables.table(stages))) as desk:
        timing = desk.page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
        assert timing < 5000
        moved = desk.page.evaluate(
            """() => {
                const plot = document.querySelector('figure svg.plot'), box = plot.getBoundingClientRect();
                const started = performance.now();
                for (let x = 60; x < 160; x += 1)
                  plot.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + x, clientY: box.top + 50 }));
                return performance.now() - started;
            }"""
        )
        assert moved / 100 < 50  # milliseconds a move
        desk.click("channel_variance", 1500, 3000)
        assert re.search(r"block 1[45]\d\d: ", desk.inspector)


def test_records_are_folded_away_with_their_sources(opened: Any) -> None:
    record = signal_tables.record(signal_tables.NF) | {"options": {"depth": {"value": 50, "source": "my.toml"}}}
    with opened(sppkit.report(predicted(), record=record)) as desk:
        table = desk.page.locator("#records table")
        assert not table.is_visible()
        desk.page.locator("#records summary").click()
        assert re.search(r"depth\s+50\s+my\.toml", table.inner_text())
        assert json.loads(desk.page.locator("#records pre").inner_text())["mode"] == "train"
