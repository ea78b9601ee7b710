"""What the terminal says about a run: sentences on synthetic tables, one per kind of curve."""

from __future__ import annotations

import io
import math
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from sppkit.config import resolve_config
from sppkit.report.describe import file_stem, layout_line, subtitle, title
from sppkit.report.summary import render_summary
from sppkit.report.verdict import state_findings
from sppkit.table import STATISTIC_COLUMNS, build_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    Stages = Sequence[Sequence[float]]

NAN, INF = math.nan, math.inf
# Values per stage: (squared mean, variance, residual variance), any of them None where it was not measured.
NF = {"norm": "none", "norm_first": True, "scaled": True, "weights": "scaled-ws", "activation": "relu",
      "padding": "zeros", "alpha": 1.0, "skip_gain": 1.0}  # fmt: skip
BN = {"norm": "bn", "norm_first": True, "scaled": False, "weights": "none", "activation": "relu", "padding": "zeros"}
HE = BN | {"norm": "none"}


def record(network: dict[str, Any], expected: Any = None, **further: Any) -> dict[str, Any]:
    return {"network": network, "expected": {"residual_variance": expected}, "mode": "train"} | further


def table(
    variance: Stages | None = ((1, 2), (1, 2)),
    mean: float | Stages | None = 0.01,
    residual: Stages | float | None = 1.0,
    *,
    stem: float | None = 0.36,
    size: int = 7,
    lost: int = 10**9,
    seed: int = 0,
) -> pd.DataFrame:
    """A table of the given values; ``mean`` and ``residual`` may be one number for all blocks."""
    shape = variance if variance is not None else residual
    rows: list[dict[str, Any]] = [{"stage": 0, "values": (2.2 if mean is not None else None, stem, None)}]
    for stage, blocks in enumerate(shape, 1):
        for k in range(len(blocks)):
            values = (at(given, stage, k) for given in (mean, variance, residual))
            rows.append({"stage": stage, "values": tuple(values)})
    return build_table(
        {"seed": seed, "block": block, "stage": row["stage"], "name": f"b{block}", "channels": 64, "height": size,
         "width": size, "nonfinite": 5 if block >= lost else 0,
         **dict(zip(STATISTIC_COLUMNS, row["values"], strict=True))}
        for block, row in enumerate(rows)
    )  # fmt: skip


def at(given: Any, stage: int, k: int) -> float | None:
    return given[stage - 1][k] if isinstance(given, (tuple, list)) else given


def said(about: str, frame: pd.DataFrame, run: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item.level, item.text) for item in state_findings(frame, run) if about in item.text]


SAW_TOOTH = ((1.11, 5, 10), (0.912, 3, 6.57), (0.599, 1, 2.05), (0.128, 0.15, 0.173))
VARIANCE = {
    "sags": (
        SAW_TOOTH,
        [
            (
                "good",
                "The variance resets: stages start at 1.11, 0.912, 0.599, 0.128 and end at 10, 6.57, 2.05, 0.173.",
            ),
            ("note", "Each stage should start where the first one does, but it sags to 0.128."),
        ],
    ),
    "sags below a tenth": (
        ((2, 4), (0.5, 1), (0.1, 0.2)),
        [
            ("good", "The variance resets: stages start at 2, 0.5, 0.1 and end at 4, 1, 0.2."),
            ("bad", "Each stage should start where the first one does, but it sags to 0.1."),
        ],
    ),
    "rises": (
        ((1, 6), (3, 8)),
        [
            ("good", "The variance resets: stages start at 1, 3 and end at 6, 8."),
            ("note", "Each stage should start where the first one does, but it rises to 3."),
        ],
    ),
    "resets": (
        ((2, 3, 4), (2, 3, 4)),
        [("good", "The variance resets: stages start at 2, 2 and end at 4, 4.")],
    ),
    "resets a little": (
        ((1.04, 1.08, 1.12), (1.05, 1.09)),
        [("good", "The variance resets: stages start at 1.04, 1.05 and end at 1.12, 1.09.")],
    ),
    "grows on": (
        ((2, 3), (4, 5)),
        [("bad", "The variance does not reset: stages start at 2, 4 and end at 3, 5.")],
    ),
    "grows on once": (
        ((2, 3, 4), (2, 3, 4), (5, 6, 7)),
        [("bad", "The variance does not reset: stages start at 2, 2, 5 and end at 4, 4, 7.")],
    ),
    "too little to tell": (
        ((1, 1.05), (1.1, 1.15)),
        [("good", "The variance goes from 1 to 1.15, between 1 and 1.15.")],
    ),
    "falls by less than half of what was built up": (
        ((2, 3), (2.9, 3.9)),  # 2 with a reset, 4 without
        [("bad", "The variance does not reset: stages start at 2, 2.9 and end at 3, 3.9.")],
    ),
    "nothing built up": (
        ((1, 1.04), (0.95, 1)),
        [("good", "The variance goes from 1 to 1, between 0.95 and 1.04.")],
    ),
    "one block a stage": (
        ((1.04,), (1.08,), (0.95,)),
        [("good", "The variance goes from 1.04 to 0.95, between 0.95 and 1.08.")],
    ),
    "one block a stage, sagging": (
        ((1.0,), (0.4,)),
        [
            ("good", "The variance goes from 1 to 0.4, between 0.4 and 1."),
            ("note", "Each stage should start where the first one does, but it sags to 0.4."),
        ],
    ),
    "one stage": (((1, 1.5, 1.4),), [("good", "The variance goes from 1 to 1.4, between 1 and 1.5.")]),
    "one block": (((1.04,),), [("good", "The variance is 1.04.")]),
    "explodes": (
        ((1, 10), (100, 1000)),
        [("bad", "The variance explodes: it reaches 1e+03, 10 times per block.")],
    ),
    "dies in block 1": (
        ((1.65e-12, 1.7e-12), (1.6e-12, 1.7e-12)),
        [("bad", "The variance vanishes: from 0.36 to 1.6e-12.")],
    ),
    "dies later": (((1, 1e-2), (1e-3, 1e-4)), [("bad", "The variance vanishes: from 1 to 0.0001.")]),
    "is zero": (((0, 0), (0, 0)), [("bad", "The variance vanishes: from 0.36 to 0.")]),
}


@pytest.mark.parametrize(("variance", "expected"), VARIANCE.values(), ids=VARIANCE)
def test_variance(variance: Stages, expected: list[tuple[str, str]]) -> None:
    found = [pair for word in ("The variance", "Each stage") for pair in said(word, table(variance), record(NF, 1.0))]
    assert found == expected


@pytest.mark.parametrize("alpha", [10.0, 1e300])
def test_growth_is_judged_by_alpha(alpha: float) -> None:
    steep = ((1, 101, 201), (1, 101, 201))
    [(level, _)] = said("The variance", table(steep), record(NF | {"alpha": alpha}))
    assert level == "good"
    [(level, _)] = said("The variance", table(steep), record(NF))
    assert level == "bad"


def test_a_normalizer_gives_the_variance_a_scale_of_its_own() -> None:
    loud = table(((1, 2), (1, 2)), stem=1e6)
    assert said("The variance", loud, record(BN))[0][0] == "good"
    assert said("The variance", loud, record(NF))[0] == ("bad", "The variance vanishes: from 1e+06 to 1.")


def test_many_stages_are_not_all_listed() -> None:
    [(_, text)] = said("The variance", table(((1, 2),) * 200), record(NF))
    assert text == "The variance resets: stages start at 1, 1, 1, ..., 1, 1, 1 and end at 2, 2, 2, ..., 2, 2, 2."


MEAN = {
    "nf": (NF, 0.05, "good", "The mean does not shift: its square is at most 5.0% of the variance (block 3)."),
    "nf, shifting": (
        NF, 0.3, "note",
        "The mean shifts: its square reaches 30% of the variance (block 3); weights of zero mean hold it near 0.",
    ),
    "bn": (
        BN, 0.47, "note",
        "The mean shifts: its square reaches 47% of the variance (block 3); BatchNorm before ReLU holds it near 47%.",
    ),
    "bn, silu": (BN | {"activation": "silu"}, 0.3, "note",
                 "The mean shifts: its square reaches 30% of the variance (block 3)."),
    "bn, centred": (
        BN | {"weights": "centered-ws"}, 0.3, "note",
        "The mean shifts: its square reaches 30% of the variance (block 3); weights of zero mean hold it near 0.",
    ),
    "bn last": (
        BN | {"norm_first": False}, 0.3, "note",
        "The mean shifts: its square reaches 30% of the variance (block 3); "
        "BatchNorm behind the activation holds it near 0.",
    ),
    "he": (HE, 0.3, "note", "The mean shifts: its square reaches 30% of the variance (block 3)."),
    "no record": ({}, 0.3, "note", "The mean shifts: its square reaches 30% of the variance (block 3)."),
    "above": (
        HE, 3.0, "bad",
        "The mean shifts: its square passes the variance at block 3 (b3) and reaches 3 times the variance (block 3).",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("network", "share", "level", "text"), MEAN.values(), ids=MEAN)
def test_mean(network: dict[str, Any], share: float, level: str, text: str) -> None:
    frame = table(((1, 2), (1, 2)), ((0, 0), (share, 0)))
    assert said("The mean", frame, record(network)) == [(level, text)]


@pytest.mark.parametrize(
    ("size", "samples", "batches", "level"),
    [(2, 4, 1, "good"), (2, 16, 1, "note"), (2, 4, 4, "note"), (8, 4, 1, "note")],
    ids=["16 values", "64 values", "in 4 batches", "on a larger map"],
)
def test_few_values_leave_a_mean(size: int, samples: int, batches: int, level: str) -> None:
    # 4 / 16 values + 1 / 64 channels = 27 %; of 64 values and more under 10 %.
    run = record(NF, input={"batch_shape": [samples, 3, 64, 64], "batches": batches})
    assert said("The mean", table(mean=0.2, size=size), run)[0][0] == level


def test_an_exploding_signal_gets_no_praise_for_its_mean() -> None:
    frame = table(((1, 6e20), (6e30, 6e40)), 0.0)
    assert said("The mean", frame, record(NF)) == []
    assert said("explodes", frame, record(NF))


SITS = "The residual variance is"
RESIDUAL = {
    "as expected": (NF, 1.0, ((1.02, 0.98), (0.97, 0.99)), "good", f"{SITS} 1, 0.98 as stage means; theory expects 1."),
    "sagging": (
        NF, 1.0, ((0.98, 0.97), (0.8, 0.7), (0.6, 0.6)), "note",
        f"{SITS} 0.975, 0.75, 0.6 as stage means; theory expects 1 without borders: "
        "zero padding makes it sag on small maps.",
    ),
    "sagging far": (
        NF, 1.0, ((0.98, 0.97), (0.5, 0.2)), "bad",
        f"{SITS} 0.975, 0.35 as stage means, far below the 1 that theory expects.",
    ),
    "far below, circular": (
        NF | {"padding": "circular"}, 1.0, ((0.3, 0.3), (0.3, 0.3)), "bad",
        f"{SITS} 0.3, 0.3 as stage means, far below the 1 that theory expects.",
    ),
    "low without borders": (
        NF | {"padding": "circular"}, 1.0, ((0.98, 0.97), (0.8, 0.7)), "note",
        f"{SITS} 0.975, 0.75 as stage means; theory expects 1.",
    ),
    "rising again": (
        NF, 1.0, ((0.7, 0.7), (0.9, 0.9)), "note", f"{SITS} 0.7, 0.9 as stage means; theory expects 1.",
    ),
    "falling from above": (
        NF, 1.0, ((1.4, 1.4), (0.8, 0.8)), "note", f"{SITS} 1.4, 0.8 as stage means; theory expects 1.",
    ),
    "low behind BatchNorm": (
        BN, 0.6817, ((0.66, 0.66), (0.5, 0.5)), "note", f"{SITS} 0.66, 0.5 as stage means; theory expects 0.682.",
    ),
    "far above": (
        BN, 0.6817, ((0.66, 0.66), (2, 4)), "bad",
        f"{SITS} 0.66, 3 as stage means, far above the 0.682 that theory expects.",
    ),
    "dead": (
        NF, 1.0, ((2.5e-25, 2.5e-25),), "bad", f"{SITS} 2.5e-25 on average, far below the 1 that theory expects.",
    ),
    "one block a stage": (NF, 1.0, ((1.03,), (0.95,)), "good", f"{SITS} 1.03, 0.95; theory expects 1."),
    "he": (
        HE, None, ((1, 2), (4, 8), (16, 32)), "bad",
        "The residual variance grows from 1 to 32, 2 times per block.",
    ),
    "shrinking": (
        HE, None, ((1, 0.1), (0.01, 0.001)), "bad",
        "The residual variance shrinks from 1 to 0.001, 0.1 times per block.",
    ),
    "no number": (HE, None, ((1, 2), (1, 2)), "note", f"{SITS} 1.5, 1.5 as stage means."),
    "no number, dead": (HE, None, ((1, 0), (0, 0)), "bad", f"{SITS} 0.5, 0 as stage means: the branch is dead."),
}  # fmt: skip


@pytest.mark.parametrize(("network", "expected", "residual", "level", "text"), RESIDUAL.values(), ids=RESIDUAL)
def test_residual(network: dict[str, Any], expected: Any, residual: Stages, level: str, text: str) -> None:
    shape = tuple((1.0,) * len(blocks) for blocks in residual)
    assert said("residual", table(shape, residual=residual), record(network, expected)) == [(level, text)]


def test_tiny_maps_may_sag_further() -> None:
    # Of a 3x3 convolution's taps 82 % are left on a 7x7 map and 44 % on a 2x2 map: half of that is still a sag.
    for size, level in ((7, "bad"), (2, "note")):
        frame = table(residual=((0.9, 0.9), (0.3, 0.3)), size=size)
        assert said("residual", frame, record(NF, 1.0))[0][0] == level


def test_large_maps_do_not_sag() -> None:
    frame = table(residual=((0.9, 0.9), (0.8, 0.8)), size=56)
    assert "zero padding" not in said("residual", frame, record(NF, 1.0))[0][1]


def test_a_normalizer_in_eval_mode_is_not_judged_by_batch_statistics() -> None:
    frame = table(residual=((4.0, 4.0), (4.0, 4.0)))
    plain = ("note", f"{SITS} 4, 4 as stage means.")
    assert said("residual", frame, record(BN, 0.6817, mode="eval")) == [plain]
    assert said("residual", frame, record(NF, 1.0, mode="eval"))[0][0] == "bad"


def test_what_is_not_finite_is_shown() -> None:
    frame = table(((1, 1), (1, NAN)), 0.0, ((1, 1), (1, INF)), lost=4)
    assert [(item.level, item.text) for item in state_findings(frame, record(NF, 1.0))] == [
        ("bad", "The signal is not finite from block 4 (b4) on: 1 of 5 blocks hold nan or infinite values."),
        ("bad", "The residual variance is 1, inf as stage means."),
    ]


ONLY = {
    "channel_squared_mean": (),
    "channel_variance": ("The variance resets: stages start at 1, 1 and end at 2, 2.",),
    "residual_variance": ("The residual variance is 1, 1 as stage means; theory expects 1.",),
}


@pytest.mark.parametrize(("name", "texts"), ONLY.items(), ids=ONLY)
def test_statistics_that_were_not_measured_give_no_statement_and_no_cell(name: str, texts: tuple[str, ...]) -> None:
    frame = table()
    frame[[other for other in STATISTIC_COLUMNS if other != name]] = NAN
    assert tuple(item.text for item in state_findings(frame, record(NF, 1.0))) == texts
    lines = rendered(frame, record(NF, 1.0))
    assert "nan" not in "".join(lines)
    assert [len(line.split()) for line in lines[1:4]] == {
        "channel_squared_mean": [4, 4, 4], "channel_variance": [5, 5, 5], "residual_variance": [3, 4, 4],
    }[name]  # fmt: skip


def rendered(frame: pd.DataFrame, run: dict[str, Any]) -> list[str]:
    console = Console(width=200, color_system=None, record=True, file=io.StringIO())
    console.print(*render_summary(frame, run), sep="\n")
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_several_seeds_are_arithmetic_means_in_the_terminal() -> None:
    import pandas as pd

    frames = [table(((1.0 * f, 2.0 * f),), 0.01 * f, 0.5 * f, stem=f, seed=f) for f in (1, 3)]
    lines = rendered(pd.concat(frames, ignore_index=True), record(NF, 1.0))
    assert lines[1].split() == ["stem", "1", "64×7×7", "2.2", "2", "2"]
    assert lines[2].split() == ["1", "2", "64×7×7", "0.02", "2", "4", "1"]
    assert lines[3] == "ok   The mean does not shift: its square is at most 1.0% of the variance (block 1)."
    assert lines[4:] == [
        "ok   The variance goes from 2 to 4, between 2 and 4.",
        "ok   The residual variance is 1 on average; theory expects 1.",
    ]


def test_a_broken_seed_is_not_hidden_by_the_others() -> None:
    import pandas as pd

    frames = [table(seed=0), table(((1, 2), (1, NAN)), residual=((1, 1), (1, NAN)), lost=4, seed=1)]
    lines = rendered(pd.concat(frames, ignore_index=True), record(NF, 1.0))
    assert lines[3].split() == ["2", "2", "64×7×7", "0.01", "1", "nan", "nan"]


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
                lines += [item.text for item in state_findings(frame, bad)]
            assert all(isinstance(line, str) and "None" not in line and "\n" not in line for line in lines), path


def test_an_empty_record_is_enough() -> None:
    assert (title({}), subtitle({}), layout_line({})) == ("network", "input", "")
    assert [item.text for item in state_findings(table(), {})] == [
        "The mean does not shift: its square is at most 1.0% of the variance (block 1).",
        "The variance resets: stages start at 1, 1 and end at 2, 2.",
        "The residual variance is 1, 1 as stage means.",
    ]
