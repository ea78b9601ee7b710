"""What the terminal says about a run: the numbers of its stages, what is wrong, and what is right."""

from __future__ import annotations

import io
import math
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from signal_tables import BN, HE, NF, record, table
from sppkit.config.resolve import resolve_config
from sppkit.curves.curves import Curves
from sppkit.diagnosis.diagnose import diagnose_curves
from sppkit.diagnosis.healthy import iter_descriptions
from sppkit.diagnosis.summary import iter_findings, render_summary
from sppkit.measuring.titles import file_stem, layout_line, subtitle, title
from sppkit.record.table import STATISTIC_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

NAN, INF = math.nan, math.inf


def rendered(frame: pd.DataFrame, run: dict[str, Any]) -> list[str]:
    console = Console(width=400, color_system=None, record=True, file=io.StringIO())
    console.print(*render_summary(frame, run), sep="\n")
    return [line.rstrip() for line in console.export_text().splitlines()]


def said(frame: pd.DataFrame, run: dict[str, Any]) -> list[str]:
    """Everything that there is to say, in full, each sentence with its mark."""
    lines = [item.one_line.plain for item in iter_findings(Curves(frame, run))]
    return [line for line in lines if line[:4] in {"ok  ", "note", "WARN", "BAD "}]


MEAN = "ok   The squared mean is at most"
RESIDUAL = "ok   The residual variance is"
COURSES: dict[str, tuple[pd.DataFrame, dict[str, Any], list[str]]] = {
    "nf": (
        table(((2, 3, 4), (2, 3, 4)), 0.02, 1.0),
        record(NF, 1.0),
        [
            f"{MEAN} 1.0% of the variance (block 1): the mean does not shift.",
            "ok   The variance resets: stages start at 2, 2 and end at 4, 4.",
            f"{RESIDUAL} 1, 1 as stage means; theory expects 1 without borders.",
        ],
    ),
    "bn": (
        table(((1.36, 2.04), (1.36, 2.04)), 0.5, 0.68),
        record(BN, 0.6817),
        [
            f"{MEAN} 36.8% of the variance (block 1); a normalizer before ReLU holds it near 47%.",
            "ok   The variance resets: stages start at 1.36, 1.36 and end at 2.04, 2.04.",
            f"{RESIDUAL} 0.68, 0.68 as stage means; theory expects 0.682 without borders.",
        ],
    ),
    "too little to reset": (
        table(((1, 1.04), (0.95, 1)), 0.3, 0.5),
        record(HE),
        [
            f"{MEAN} 31.6% of the variance (block 3).",
            "ok   The variance goes from 1 to 1, between 0.95 and 1.04.",
            f"{RESIDUAL} 0.5, 0.5 as stage means.",
        ],
    ),
    "one block a stage": (
        table(((1.04,), (1.08,), (0.95,)), None, ((1.03,), (0.95,), (1,))),
        {},
        ["ok   The variance goes from 1.04 to 0.95, between 0.95 and 1.08.", f"{RESIDUAL} 1.03, 0.95, 1."],
    ),
    "one block": (table(((1.04,),), None, None), {}, ["ok   The variance is 1.04."]),
    "many stages": (
        table(((1, 2),) * 200, None, None),
        record(NF, 1.0),
        ["ok   The variance resets: stages start at 1, 1, 1, ..., 1, 1, 1 and end at 2, 2, 2, ..., 2, 2, 2."],
    ),
}


@pytest.mark.parametrize(("frame", "run", "expected"), COURSES.values(), ids=COURSES)
def test_healthy_curves_are_described(frame: pd.DataFrame, run: dict[str, Any], expected: list[str]) -> None:
    lines = said(frame, run)
    assert [line for line in lines if line.startswith("ok")] == expected


def test_an_error_is_shown_with_cause_and_remedy_and_nothing_is_praised_beside_it() -> None:
    [line] = said(table(((1, 6), (60, 600)), 0.0, None), record(HE))
    assert line.startswith("BAD  The variance explodes: it reaches 600 at block 4")
    assert "; without a normalizer a branch is as strong as its input, so that every addition doubles" in line
    assert line.endswith("; a normalizer, or NF-ResNet's alpha and beta (--arch nf-resnet), makes the growth linear.")


def test_a_warning_takes_the_place_of_what_would_be_said_of_its_statistic() -> None:
    lines = said(table(residual=((0.5, 0.5), (0.5, 0))), record(BN, 0.6817))
    assert [line[:20] for line in lines] == ["WARN The branch of b", "ok   The squared mea", "ok   The variance re"]


ONLY: dict[str, tuple[str, ...]] = {
    "channel_squared_mean": (),
    "channel_variance": ("ok   The variance resets: stages start at 1, 1 and end at 2, 2.",),
    "residual_variance": ("note The residual variance is 0.6, 0.6 as stage means; theory expects 1 without borders.",),
}


@pytest.mark.parametrize(("name", "texts"), ONLY.items(), ids=ONLY)
def test_statistics_that_were_not_measured_give_no_statement_and_no_cell(name: str, texts: tuple[str, ...]) -> None:
    frame = table()
    frame[[other for other in STATISTIC_COLUMNS if other != name]] = NAN
    assert tuple(said(frame, record(NF, 1.0))) == texts
    lines = rendered(frame, record(NF, 1.0))
    assert "nan" not in "".join(lines)
    assert [len(line.split()) for line in lines[2:5]] == {
        "channel_squared_mean": [4, 4, 4], "channel_variance": [5, 5, 5], "residual_variance": [3, 4, 4],
    }[name]  # fmt: skip


def layers(count: int, mean: float = 0.3) -> pd.DataFrame:
    """A table of layers, Linear and ReLU in turn."""
    from sppkit.record.table import build_table

    return build_table(
        {"seed": 0, "block": block, "name": f"net.{block}", "channels": 64 if block < count - 1 else 10, "nonfinite": 0,
         "channel_squared_mean": mean, "channel_variance": 1.0}
        for block in range(count)
    )  # fmt: skip


def test_layers_have_a_row_each() -> None:
    lines = rendered(layers(6), {})
    assert [line.split() for line in lines[1:4]] == [
        ["layer", "name", "output", "mean", "variance"], ["0", "net.0", "64", "0.3", "1"],
        ["1", "net.1", "64", "0.3", "1"],
    ]  # fmt: skip
    assert lines[8:] == [
        "ok   The squared mean is at most 30.0% of the variance (layer 0).",
        "ok   The variance stays at 1.",
    ]


def test_many_layers_are_told_by_the_shape_of_their_output() -> None:
    lines = rendered(layers(40), {})
    assert [line.split()[0] for line in lines[2:4]] == ["0–38", "39"]
    assert lines[4].startswith("ok ")


def test_a_mean_that_a_normalizer_takes_out_again_is_praised() -> None:
    frame = layers(12)
    frame["channel_squared_mean"] = [3.0 if block % 3 == 1 else 0.0 for block in range(12)]
    assert said(frame, {})[0] == (
        "ok   The squared mean reaches 3 times the variance (layer 1) and is taken out again: no mean shift builds up."
    )


def test_a_mean_above_the_variance_is_excused() -> None:
    few = {"input": {"kind": "gaussian", "batch_shape": [2, 3, 8, 8], "batches": 1}}
    [line, *_] = said(table(mean=((1.5, 2), (1.5, 2)), size=1), record(BN) | few)
    assert line.endswith("(block 1), which is chance where a channel has 2 values.")
    [line, *_] = said(table(mean=((1.5, 2), (1.5, 2))), {})
    # Nothing is known of this one: no word of layers that it may not have.
    assert line == "ok   The squared mean reaches 1.5 times the variance (block 1): no fault up to 5 times."


@pytest.mark.parametrize("run", [record(HE), record(BN, 0.6817), {}], ids=["he", "bn", "unknown"])
@pytest.mark.parametrize(
    "frame",
    [
        table(((1, 6), (60, 600)), 9.0, None),
        table(((1, 6), (60, 600)), ((1, 9), (90, 9000)), ((0.5, 0), (0.5, 0))),
        table(((2.0,) * 3,) * 40, 0.02, 1.0),
        table(lost=2),
    ],
    ids=["two faults", "several faults", "many stages", "lost"],
)
def test_the_verdict_has_at_most_four_lines_of_a_hundred_letters(frame: pd.DataFrame, run: dict[str, Any]) -> None:
    full = said(frame, run)
    lines = rendered(frame, run)
    start = next(index for index, line in enumerate(lines) if line[:4] in {"ok  ", "note", "WARN", "BAD "})
    assert len(lines[start:]) <= 4
    assert max(map(len, lines[start:])) <= 100
    # Nothing is said that the full text does not say, and the worst comes first, from its beginning.
    shown = [line for line in lines[start:] if line[:4].strip()]
    assert full[0].startswith(lines[start].removesuffix("...").rstrip())
    for line in shown:
        assert any(whole.startswith(line.removesuffix("...").rstrip()) for whole in full)
    if len(full) > 4:
        assert lines[-1] == f"     and {len(full) - 3} more"
    else:
        assert len(shown) == len(full)


def test_what_follows_a_first_line_stands_under_the_text() -> None:
    console = Console(width=60, color_system=None, record=True, file=io.StringIO())
    console.print(*render_summary(table(((1, 6), (60, 600)), 0.0, None), record(HE)), sep="\n")
    lines = console.export_text().splitlines()
    [start] = [index for index, line in enumerate(lines) if line.startswith("BAD ")]
    assert len(lines) > start + 3
    assert all(line.startswith("     ") and line[5] != " " for line in lines[start + 1 :] if line.strip())
    assert max(map(len, lines)) <= 60


def test_several_seeds_are_arithmetic_means_in_the_terminal() -> None:
    import pandas as pd

    frames = [table(((1.0 * f, 2.0 * f),), 0.01 * f, 0.5 * f, stem=f, seed=f) for f in (1, 3)]
    lines = rendered(pd.concat(frames, ignore_index=True), record(NF, 1.0))
    assert lines[2].split() == ["stem", "1", "64×7×7", "2.2", "2", "2"]
    assert lines[3].split() == ["1", "2", "64×7×7", "0.02", "2", "4", "1"]
    assert lines[4:] == [
        f"{MEAN} 1.0% of the variance (block 1): the mean does not shift.",
        "ok   The variance goes from 2 to 4.",
        f"{RESIDUAL} 1 on average; theory expects 1 without borders.",
    ]


def test_a_broken_seed_is_not_hidden_by_the_others() -> None:
    import pandas as pd

    frames = [table(seed=0), table(((1, 2), (1, NAN)), residual=((1, 1), (1, NAN)), lost=4, seed=1)]
    lines = rendered(pd.concat(frames, ignore_index=True), record(NF, 1.0))
    assert lines[4].split() == ["2", "2", "64×7×7", "0.01", "1", "nan", "nan"]
    assert lines[5].startswith("BAD  The signal is not finite from block 4 (b4) on: 1 of 5 blocks hold nan")


def test_time_is_linear_in_the_stages() -> None:
    def seconds(stages: int) -> float:
        frame = table(((1, 2),) * stages)
        start = time.process_time()
        render_summary(frame, record(NF, 1.0))
        return time.process_time() - start

    seconds(10)
    times = [min(seconds(stages) for _ in range(2)) for stages in (100, 400, 1600)]
    # Four times the stages: four times as long, not sixteen.
    assert all(later < 8 * earlier for earlier, later in pairwise(times))


def described(**flags: Any) -> dict[str, Any]:
    resolved = resolve_config({"arch": "nf-resnet", **flags})
    stages = list(resolved.config.stages or flags.pop("layout", ()))
    return {
        "arch": "nf-resnet",
        "network": {"stages": stages, "block": resolved.config.block, "parameters": 298_600_000},
        "input": {"kind": "gaussian", "batch_shape": [8, 3, 224, 224], "batches": 2},
        "mode": "train",
        "dtype": "float32",
        "seeds": [0, 1],
        "options": resolved.described(),
    }


def test_title_and_subtitle() -> None:
    assert title(described(depth="600")) == "nf-resnet-600"
    assert title(described(stages="1,2", alpha="1", se=True, batch_size="4")) == ("nf-resnet, stages 1-2, alpha 1, se")
    assert subtitle(described(depth="50")) == ("Gaussian input 8×3×224×224, 2 batches · train mode · float32 · 2 seeds")


LAYOUTS = {
    "published": (("depth", "600", [50] * 4), "stages 50, 50, 50, 50 (published layout) · 298.6 M parameters"),
    "spread": (
        ("depth", "40", [3, 3, 4, 3]),
        "stages 3, 3, 4, 3 (spread evenly over four stages) · 298.6 M parameters",
    ),
    "given": (("stages", "3,4,6,3", [3, 4, 6, 3]), "stages 3, 4, 6, 3 (given) · 298.6 M parameters"),
}


@pytest.mark.parametrize(("given", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_layout_line(given: tuple[str, str, list[int]], expected: str) -> None:
    option, value, stages = given
    run = described(**{option: value})
    run["network"]["stages"] = stages
    assert layout_line(run) == expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [(950, "950"), (20_900, "20.9 k"), (1_230_000_000, "1.2 G")],
)
def test_size_in_the_layout_line(parameters: int, expected: str) -> None:
    assert layout_line({"network": {"stages": [1], "parameters": parameters}}).endswith(f" · {expected} parameters")


def test_variants_are_called_by_their_name() -> None:
    resolved = resolve_config({"arch": "nf-regnet", "variant": "b0", "add_on": "selfnorm@post"})
    run = described(depth="50") | {"arch": "nf-regnet", "options": resolved.described()}
    run["network"]["stages"] = [1, 3, 6, 6]
    assert title(run) == "nf-regnet-b0, add-on selfnorm@post"
    assert layout_line(run) == "stages 1, 3, 6, 6 (variant b0) · 298.6 M parameters"


def test_settings_say_themselves_what_they_are() -> None:
    resolved = resolve_config({"arch": "bn-relu-conv", "depth": "50", "norm": "gn", "norm_kw": "groups=16"})
    assert title({"arch": "bn-relu-conv", "options": resolved.described()}) == "bn-relu-conv-50, norm gn, groups=16"


def test_file_stem_of_stages() -> None:
    assert file_stem(resolve_config({"arch": "nf-resnet", "stages": "1,2", "alpha": "1"})) == (
        "nf-resnet-stages1-2-alpha1"
    )


HOSTILE: list[Any] = [None, True, 5, -1.5, NAN, INF, 10**400, "x", [], [None], ["a", 1], {}, {"value": []}, [[1]]]


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))


def replaced(value: Any, path: tuple[str, ...], new: Any) -> Any:
    return {**value, path[0]: replaced(value[path[0]], path[1:], new)} if path else new


def test_wrong_types_in_a_record_are_survived() -> None:
    whole = described(depth="50", alpha="1") | record(NF | {"stages": [3, 4, 6, 3], "block": "bottleneck"}, 1.0)
    frame = table()
    assert len(list(paths(whole))) > 50
    for path in paths(whole):
        for value in HOSTILE:
            bad = replaced(whole, path, value)
            lines = [title(bad), subtitle(bad), layout_line(bad)]
            if path[0] not in {"options", "versions"}:  # which no finding reads; each takes 5 ms
                curves = Curves(frame, bad)
                lines += [item.text for item in diagnose_curves(curves)] + [
                    text for _, text in iter_descriptions(curves, ())
                ]
            assert all(isinstance(line, str) and "None" not in line and "\n" not in line for line in lines), path


def test_an_empty_record_is_enough() -> None:
    assert (title({}), subtitle({}), layout_line({})) == ("network", "input", "")
    assert said(table(), {}) == [
        f"{MEAN} 1.0% of the variance (block 1).",
        "ok   The variance resets: stages start at 1, 1 and end at 2, 2.",
        f"{RESIDUAL} 0.6, 0.6 as stage means.",
    ]
