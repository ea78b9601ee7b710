"""The page without a browser: what is in the file, what can't get into it, and whose its numbers are."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import zlib
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import signal_tables
import sppkit
from sppkit.cli.app import app
from sppkit.errors import UsageError
from sppkit.plot.page.document import render
from sppkit.plot.page.shown_run import MOST_ROWS, ShownRun
from sppkit.plot.page.statements import judge
from sppkit.record.table import build_table, csv_text, read_csv, write_csv
from sppkit.record.write import write_record

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "a\u2028b\u2029c",
    "\u202egnp.exe",
    "<!--<script>",
    "${alert(1)} $data $$",
    "' onmouseover='alert(1)",
]
# What HTML runs, loads, or sends to.
ACTIVE = {"src", "href", "action", "formaction", "srcdoc", "data", "style"}


class Tags(HTMLParser):
    """Every element of a page, as a browser would see it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def payload(page: str) -> dict[str, Any]:
    [text] = re.findall(r'<script type="text/plain" id="data">(.*?)</script>', page)
    return json.loads(zlib.decompress(base64.b64decode(text, validate=True)))


def shown(**further: Any) -> ShownRun:
    return ShownRun("run", signal_tables.table(), signal_tables.record(signal_tables.NF) | further)


def deep(blocks: int, seeds: int = 1, predicted: bool = True, draw: int = 0) -> pd.DataFrame:
    """Rows of nine digits that nothing can compress away, as measured ones have."""
    random = np.random.default_rng(draw)
    rows = []
    for seed in range(seeds):
        for block in range(blocks + 1):
            names = ["channel_squared_mean", "channel_variance", "residual_variance"]
            if predicted:
                names += [f"predicted_{name}{end}" for name in names for end in ("", "_spread")]
            values = {name: float(random.uniform(0.1, 1)) for name in names}
            rows.append({"seed": seed, "block": block, "stage": min(4, block // 100 + 1) if block else 0,
                         "name": f"blocks.{block - 1}" if block else "stem", "channels": 256, "height": 7, "width": 7,
                         "nonfinite": 0, **values})  # fmt: skip
    return build_table(rows)


def test_the_page_is_one_file_that_fetches_nothing() -> None:
    page = sppkit.report(deep(20)).html
    tags = Tags(page).found
    loads = [(tag, name, value) for tag, attributes in tags for name, value in attributes.items() if name in ACTIVE]
    assert [load for load in loads if not str(load[2]).startswith("#run-")] == []
    assert not {tag for tag, _ in tags} & {"link", "iframe", "object", "embed", "base", "form", "img"}
    assert [name for _, attributes in tags for name in attributes if name.startswith("on")] == []
    program = page[page.rindex("<script>") :]
    assert not re.search(
        r"fetch\(|XMLHttpRequest|WebSocket|import\(|innerHTML|insertAdjacentHTML|document\.write|eval\(", program
    )
    assert set(re.findall(r"https?://[^\s\"']+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_only_its_own_program_and_style_may_run() -> None:
    page = sppkit.report(deep(3)).html
    policy = next(attributes["content"] for tag, attributes in Tags(page).found if "http-equiv" in attributes)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    assert set(rules) == {"default-src", "script-src", "style-src", "base-uri", "form-action"}
    for kind, pattern in (("script-src", r"<script>(.*?)</script>"), ("style-src", r"<style>(.*?)</style>")):
        [text] = re.findall(pattern, page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
        assert "<!--" not in text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_run_becomes_markup(text: str) -> None:
    table = signal_tables.table(mean=9.0).assign(name=text)
    record = {**signal_tables.record(signal_tables.NF), "arch": text, "note": {text: text},
              "sources": {text: [text, 3]}, "options": {text: {"value": text, "source": text}}}  # fmt: skip
    run = ShownRun(text, table, record)
    verdict = judge([run])
    assert verdict.level == "error"
    clean = render([ShownRun("run", signal_tables.table(mean=9.0), record)], judge([run]), title="x", subtitle="y")
    page = render([run, run], verdict, title=text, subtitle=text)
    assert {(tag, *attributes) for tag, attributes in Tags(page).found} <= (
        {(tag, *attributes) for tag, attributes in Tags(clean).found}
        | {("span", "class"), ("a", "href"), ("p", "class")}
    )
    outside = re.sub(r'<script type="text/plain" id="data">.*?</script>', "", page)
    assert text not in outside or not set(text) & set("<>\"'\u2028\u202e")
    assert not set("\u2028\u2029\u202e") & set(outside)
    [first, _] = payload(page)["runs"]
    assert first["label"].isprintable()


def test_the_numbers_are_those_of_the_csv(tmp_path: Path) -> None:
    table = signal_tables.table(
        variance=((1, 2), (1.23456789, math.nan)), residual=((1, 2), (None, 0.3)), lost=4, seed=3
    )
    write_csv(table, tmp_path / "run.csv")
    [run] = payload(sppkit.report(tmp_path / "run.csv").html)["runs"]
    assert run["csv"] == (tmp_path / "run.csv").read_text(encoding="utf-8")
    assert run["csv"] == csv_text(table)
    assert "nan" in run["csv"]
    assert ",," in run["csv"]


def test_600_blocks_of_three_runs_take_at_most_400_kilobytes() -> None:
    runs = {f"run {index}": deep(600, draw=index) for index in range(3)}
    page = sppkit.report(runs).html
    assert sum(len(csv_text(run)) for run in runs.values()) > 240_000  # what there is to be held
    assert len(page.encode()) <= 400_000


def test_the_verdict_stands_in_the_page_as_text_and_leads_to_its_block() -> None:
    run = ShownRun("run", signal_tables.table(mean=9.0), signal_tables.record(signal_tables.NF))
    page = sppkit.report(run.table, record=run.record).html
    found = sppkit.diagnose(run.table, run.record)
    assert {one.severity for one in found} >= {"error"}
    for one in found:
        assert f'<a href="#run-0-block-{one.block}">{html.escape(one.fact)}.</a>' in page
        assert one.remedy[1:] in html.unescape(page)
    assert page.index('id="verdict"') < page.index('id="panels"')
    count = sum(one.severity == "error" for one in found)
    assert f"{count} fault{'s' * (count > 1)}" in page


def test_a_healthy_run_is_told_to_have_no_fault_and_a_bad_one_is_not() -> None:
    healthy, ill = shown(), ShownRun("ill", signal_tables.table(mean=9.0), signal_tables.record(signal_tables.NF))
    assert judge([healthy]).headline == "No fault found."
    assert judge([healthy]).level == "good"
    assert judge([healthy, healthy]).headline == "No fault found in any of 2 runs."
    both = judge([healthy, ill])
    assert both.headline == "1 of 2 runs has a fault."
    assert both.statements[0].run == 1


def test_a_training_is_judged_by_its_last_step_and_thinned_where_it_is_long() -> None:
    steps = [signal_tables.table(mean=9.0 if step < 2 else 0.01).assign(step=step) for step in range(3)]
    table = build_table(pd.concat(steps).to_dict("records"))  # type: ignore[arg-type]
    assert ShownRun("run", table, {}).shown is table
    page = sppkit.report(table).html
    assert "The last of 3 steps is judged, step 2." in page
    rows = len(steps[0])
    long = pd.concat([steps[0].assign(step=step) for step in range(2 * MOST_ROWS // rows)], ignore_index=True)
    run = ShownRun("run", build_table(long.to_dict("records")), {})  # type: ignore[arg-type]
    kept = run.shown["step"].unique()
    assert len(run.shown) <= MOST_ROWS
    assert (kept[0], kept[-1]) == (run.steps[0], run.steps[-1])
    assert payload(sppkit.report(run.table).html)["runs"][0]["thinned"] == f"{len(kept)} of {len(run.steps)} steps"


def test_a_gradient_has_panels_of_its_own_direction() -> None:
    table = signal_tables.table(gradient_second_moment=1.0, kurtosis=3.0)
    statistics = {one["name"]: one for one in payload(sppkit.report(table).html)["statistics"]}
    assert list(statistics)[:3] == ["channel_squared_mean", "channel_variance", "residual_variance"]
    assert statistics["gradient_second_moment"]["backward"]
    assert not statistics["kurtosis"]["backward"]
    # What only the verdict took has its panel closed at first.
    unasked = {"options": {"stats": {"value": [], "source": "default"}}}
    table = table.assign(equal_channels=0.0)
    opened = {one["name"]: one["open"] for one in payload(sppkit.report(table, record=unasked).html)["statistics"]}
    assert opened["gradient_second_moment"]
    assert not opened["equal_channels"]


def test_a_notebook_shows_the_page_in_a_frame_of_its_own() -> None:
    page = sppkit.report(deep(3), title='a "b" <c>')
    [(tag, attributes)] = Tags(page._repr_html_()).found
    assert tag == "iframe"
    assert attributes["srcdoc"] == page.html
    assert attributes["sandbox"] == "allow-scripts allow-downloads"
    assert repr(page).endswith("save(PATH) writes it>")


def test_the_same_runs_give_the_same_bytes() -> None:
    assert sppkit.report(deep(5)).html == sppkit.report(deep(5)).html


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from 1 to 32 runs, not 0"):
        sppkit.report([])
    with pytest.raises(UsageError, match="record= belongs to a single table"):
        sppkit.report([deep(1), deep(1)], record={})
    with pytest.raises(UsageError, match="run 1 is not a table of sppkit: it has no column 'seed'"):
        sppkit.report(pd.DataFrame({"a": [1]}))
    with pytest.raises(UsageError, match="run 1 has no rows"):
        sppkit.report(deep(1).iloc[:0])
    with pytest.raises(UsageError, match=r"can't read the run .*gone\.csv: there is no such file"):
        sppkit.report(tmp_path / "gone.csv")


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return done.exit_code, done.output


def test_report_writes_one_page_of_saved_runs(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_csv(deep(4), tmp_path / folder / "run.csv")
    write_record(signal_tables.record(signal_tables.NF) | {"arch": "nf-resnet"}, tmp_path / "a/run.json")
    out = tmp_path / "page.html"
    code, said = run("report", tmp_path / "a/run.csv", tmp_path / "b/run.csv", "--out", out, "--title", "two")
    assert (code, said) == (0, f"wrote {out}\n")
    page = out.read_text(encoding="utf-8")
    assert "<h1>two</h1>" in page
    assert [one["label"] for one in payload(page)["runs"]] == [f"{tmp_path}/a/run", f"{tmp_path}/b/run"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "gone.csv"], "error: can't read the run gone.csv: there is no such file."),
        (
            ["report", "a.csv", "--out", "page.pdf"],
            "--out: the page is a .html file, not 'page.pdf'.\nTry --out page.html",
        ),
    ],
)
def test_report_tells_mistakes(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run(*arguments)
    assert code == 2
    assert message in said
    assert list(tmp_path.iterdir()) == []


SMALL = ["--stages", "1,1", "--width", "0.1", "--image-size", "16", "--batch-size", "2", "--quiet"]


def test_plot_compare_and_check_make_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("plot", "--arch", "nf-resnet", *SMALL, "--format", "html", "--name", "one")[0] == 0
    assert sorted(path.name for path in (tmp_path / "spp").iterdir()) == ["one.csv", "one.html", "one.json"]
    [shown_run] = payload((tmp_path / "spp/one.html").read_text(encoding="utf-8"))["runs"]
    assert shown_run["csv"] == csv_text(read_csv(tmp_path / "spp/one.csv"))
    assert ["arch", "nf-resnet", "flag"] in shown_run["options"]
    assert run("compare", "nf-resnet", "he-resnet", *SMALL, "--format", "html")[0] == 0
    compared = payload((tmp_path / "spp/compare.html").read_text(encoding="utf-8"))
    assert [one["label"] for one in compared["runs"]] == ["nf-resnet", "he-resnet"]
    code, said = run("check", "spp/one.csv", "--format", "html")
    page = (tmp_path / "spp/one.html").read_text(encoding="utf-8")
    assert f"{'FAIL' if code else 'PASS'}: one" in page
    assert "open spp/one.html in a browser" in said
    assert run("check", "spp/one.csv", "--format", "png")[0] == 2


def test_a_failed_check_leads_to_the_blocks_and_shows_the_baseline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    record = signal_tables.record(signal_tables.NF) | {"arch": "nf-resnet"}
    for name, mean in (("good", 0.01), ("bad", 9.0)):
        write_csv(signal_tables.table(mean=mean), tmp_path / f"{name}.csv")
        write_record(record, tmp_path / f"{name}.json")
    assert run("bless", "good.csv", "--reason", "first")[0] == 0
    code, _ = run("check", "bad.csv", "--baseline", ".sppkit/baselines/good.json", "--format", "html")
    assert code == 1
    page = (tmp_path / "bad.html").read_text(encoding="utf-8")
    assert re.search(r'<li class="error">.*<a href="#run-0-block-1">block 1 \(b1\): ', page)
    assert [one["label"] for one in payload(page)["runs"]] == ["bad", "baseline good"]


def test_a_command_without_a_page_says_so_before_it_measures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run("shift", "nf-resnet", *SMALL, "--shift", "apr-p", "--format", "html")
    assert code == 2
    assert "--format html: shift has no interactive page; take png, svg or pdf." in said
    assert list(tmp_path.iterdir()) == []
