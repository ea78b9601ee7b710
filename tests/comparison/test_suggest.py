"""Remedies: each is tried where it is legal, cures what it is for, and is ranked by a score that closed forms give."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from sppkit.cli.app import app
from sppkit.comparison.remedies import REMEDIES
from sppkit.comparison.runs import Measured
from sppkit.comparison.score import Score, score_table
from sppkit.comparison.suggestion import AS_IT_IS, Outcome, Trial, best, command, iter_trials, ranked, untreated
from sppkit.models.spec import build_spec
from sppkit.record.table import build_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

RUNNER = CliRunner()
SMALL = ["--stages", "2,2", "--width", "0.125", "--image-size", "32", "--batch-size", "4"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def table(variances: Sequence[Sequence[float]], *, ratio: float = 0.0, residual: float | None = 1.0) -> pd.DataFrame:
    blocks = [(stage, variance) for stage, group in enumerate(variances, 1) for variance in group]
    rows = [{"stage": 0, "channel_squared_mean": 5.0, "channel_variance": 9.0}] + [
        {"stage": stage, "channel_squared_mean": ratio * v, "channel_variance": v, "residual_variance": residual}
        for stage, v in blocks
    ]
    return build_table({"seed": 0, "block": at, "name": f"b{at}", "nonfinite": 0, **row} for at, row in enumerate(rows))


# Variances per stage, squared mean / variance, residual variance -> mean shift, drift, branch.
SCORES = {
    "ideal": (((2, 3, 4), (2, 3, 4)), 0.0, 1.0, (0, 0, 0)),
    "flat": (((1, 1, 1), (1, 1, 1)), 0.0, 1.0, (0, 0, 0)),  # alpha 0
    "bn-relu-conv": (((1.363, 2.045), (1.363, 2.045)), 0.467, 0.6817, (0.467, 0, 0.3832)),
    "stages halve": (((2, 3), (1, 1.5)), 0.0, 1.0, (0, math.log(2), 0)),
    "a stage falls": (((2, 1), (2, 1)), 0.0, 1.0, (0, math.log(2), 0)),
    "doubles": (((2, 4, 8, 16), (2, 4, 8, 16)), 0.0, 2.0, (0, math.log(2), math.log(2))),  # 16 = 2 · (4 · 2)
    "no branch": (((1, 1), (1, 1)), 0.0, None, (0, 0, 0)),
    "dead branch": (((1, 1), (1, 1)), 0.0, 0.0, (0, 0, math.inf)),
    "dead": (((1, 0), (0, 0)), 0.0, 1.0, (0, math.inf, 0)),
}


@pytest.mark.parametrize(("variances", "ratio", "residual", "expected"), SCORES.values(), ids=SCORES)
def test_score_is_its_definition(
    variances: Sequence[Sequence[float]], ratio: float, residual: float | None, expected: Sequence[float]
) -> None:
    score = score_table(table(variances, ratio=ratio, residual=residual))
    assert (score.shift, score.drift, score.branch) == pytest.approx(expected, abs=1e-4)
    assert score.total == pytest.approx(sum(expected), abs=2e-4)


def test_a_lost_signal_is_infinitely_far_from_a_healthy_one() -> None:
    frame = table(((2, 3),))
    frame.loc[frame["block"] == 2, "nonfinite"] = 1
    assert score_table(frame).total == math.inf


def test_healthy_is_what_the_diagnosis_finds_no_fault_in() -> None:
    def judged(**given: float) -> bool:
        return Outcome(Measured("x", "x", table(((2, 3), (2, 3)), **given), {}), Score(0, 0, 0)).is_healthy

    assert judged(ratio=0.47)
    assert not judged(ratio=50.0)


def trials(**flags: object) -> dict[str, Trial]:
    return {trial.remedy.name: trial for trial in iter_trials({"stages": "1,1", "width": "0.125", **flags})}


COMMON = ["skip gain 0 (SkipInit)"]
LEGAL = {
    "bn-relu-conv": ({"arch": "bn-relu-conv"}, ["scaled weight standardization", "centred weights",
                     "weight standardization", "ReLU before the normalizer", "NF-ResNet", *COMMON]),
    "relu-bn-conv": ({"arch": "relu-bn-conv"}, ["scaled weight standardization", "centred weights",
                     "weight standardization", "NF-ResNet", *COMMON]),
    "he-resnet": ({"arch": "he-resnet"}, ["scaled weight standardization", "centred weights", "no max-pool",
                  "BatchNorm", "NF-ResNet", *COMMON, "circular padding"]),
    "without bn": ({"arch": "bn-relu-conv", "norm": "none"}, ["scaled weight standardization", "centred weights",
                   "no max-pool", "BatchNorm", "NF-ResNet", *COMMON, "circular padding"]),
    "nf-resnet": ({"arch": "nf-resnet"}, [*COMMON, "circular padding"]),
    "nf-resnet, plain": ({"arch": "nf-resnet", "weights": "none", "alpha": "1"}, ["scaled weight standardization",
                         "alpha 0.2", "centred weights", "no max-pool", *COMMON, "circular padding"]),
    "nf-resnet, gain": ({"arch": "nf-resnet", "gain": "1"}, ["scaled weight standardization", *COMMON,
                        "circular padding"]),  # the exact gain is the same network
    "scaled-ws, gain": ({"arch": "bn-relu-conv", "weights": "scaled-ws"}, ["scaled weight standardization",
                        "ReLU before the normalizer", "NF-ResNet", *COMMON]),
    "skip gain": ({"arch": "nf-resnet", "skip_gain": "3"}, ["skip gain 1", *COMMON, "circular padding"]),
    "lecun": ({"arch": "he-resnet", "init": "lecun", "stem": "cifar"}, ["scaled weight standardization", "He weights",
              "centred weights", "BatchNorm", "NF-ResNet", *COMMON, "circular padding"]),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "names"), LEGAL.values(), ids=LEGAL)
def test_remedies_are_tried_where_they_are_legal_and_change_something(
    flags: dict[str, object], names: list[str]
) -> None:
    assert list(trials(**flags)) == names


def test_every_remedy_has_its_words_and_is_legal_somewhere() -> None:
    used = {name for flags, _ in LEGAL.values() for name in trials(**flags)}
    # Scaled weight standardization brings the gain with it; on its own the gain is another network only with others.
    used |= trials(arch="nf-resnet", weights="centered-ws", gain="1", init="lecun").keys()
    assert used == {remedy.name for remedy in REMEDIES}
    assert all(remedy.effect and any(letter.isdigit() for letter in remedy.source) for remedy in REMEDIES)


def test_a_remedy_changes_what_it_says_and_nothing_else() -> None:
    flags = {"arch": "nf-resnet", "weights": "none", "alpha": "1", "padding": "circular"}
    [before] = [untreated({**flags, "stages": "1,1", "width": "0.125"}).resolved]
    assert before is not None
    after = trials(**flags)["scaled weight standardization"].member.resolved
    assert after is not None
    old, new = (build_spec(item.config.arch, item.given()) for item in (before, after))
    differing = {name for name in vars(old) if getattr(old, name) != getattr(new, name)}
    assert differing == {"weights", "init", "gain"}
    assert (new.weights, new.init, new.gain, new.alpha) == ("scaled-ws", "lecun", "exact", 1.0)


def test_an_option_that_the_new_architecture_does_not_know_is_left_behind() -> None:
    member = trials(arch="bn-relu-conv", norm="none", stem="cifar")["NF-ResNet"].member
    assert command(member) == "sppkit plot --arch nf-resnet --stages 1,1 --width 0.125 --stem cifar"


@pytest.mark.parametrize(
    "typed",
    [
        "--arch nf-resnet --depth 50 --width 0.3 --activation silu --alpha 0.123456789 --se --skip-gain -0.5",
        "--arch he-resnet --stages 1,2 --input 'my photos' --seed 3 --seeds 2 --dtype float16 --mode eval",
    ],
)
def test_the_command_is_the_network(typed: str) -> None:
    words = shlex.split(typed)
    flags: dict[str, object] = {}
    while words:
        name = words.pop(0).removeprefix("--").replace("-", "_")
        flags[name] = True if name == "se" else words.pop(0)
    again = command(untreated(flags))
    assert sorted(shlex.split(again)) == sorted(["sppkit", "plot", *shlex.split(typed)])


def test_options_of_a_file_are_typed_too() -> None:
    Path("c.toml").write_text('arch = "he-resnet"\ndepth = 50\nwidth = 0.5\nname = "x"', encoding="utf-8")
    member = untreated({"width": "0.25"}, Path("c.toml"))
    assert command(member) == "sppkit plot --arch he-resnet --depth 50 --width 0.25"


def outcome(total: float, remedy: str | None = None) -> Outcome:
    measured = Measured("x", "x", table(((1, 1),)), {})
    if remedy is None:
        return Outcome(measured, Score(total, 0, 0))
    [found] = [item for item in REMEDIES if item.name == remedy]
    trial = Trial(found, untreated({"arch": "he-resnet", "stages": "1"}), ())
    return Outcome(measured, Score(total, 0, 0), trial)


def test_the_best_is_the_lowest_score_that_carries_a_signal() -> None:
    silent, centred = outcome(0.0, "skip gain 0 (SkipInit)"), outcome(1.0, "centred weights")
    alpha, as_it_is = outcome(1.0, "alpha 0.2"), outcome(5.0)
    assert ranked([as_it_is, alpha, centred, silent]) == [silent, alpha, centred, as_it_is]
    assert best([as_it_is, centred, silent]) is centred
    assert best([outcome(1.0), outcome(1.0, "centred weights")]) is None
    assert best([outcome(0.5), outcome(1.0, "centred weights"), silent]) is None


def suggest(*arguments: object) -> str:
    code, out, err = run("suggest", *SMALL, *arguments)
    assert (code, err) == (0, "")
    return out


# A network with one fault, and the remedies that may be named for it.
FAULTS = {
    "mean shift": (["--arch", "nf-resnet", "--weights", "none"], {"scaled weight standardization", "centred weights"}),
    "no normalizer": (["--arch", "he-resnet", "--stages", "4,4,4"], {"NF-ResNet", "BatchNorm"}),
    "gain forgotten": (["--arch", "nf-resnet", "--gain", "1"], {"scaled weight standardization", "exact gain"}),
    "gain twice": (["--arch", "nf-resnet", "--gain", "2.9"], {"scaled weight standardization", "exact gain"}),
    "step too large": (["--arch", "nf-resnet", "--skip-gain", "9"], {"skip gain 1"}),
}


@pytest.mark.parametrize(("flags", "remedies"), FAULTS.values(), ids=FAULTS)
def test_the_remedy_for_a_fault_is_found(flags: list[str], remedies: set[str]) -> None:
    out = suggest(*flags, "--image-size", "64")
    [told] = [line for line in out.splitlines() if " Best: " in line]
    assert told.partition(" Best: ")[2].partition(".")[0] in remedies
    assert out.splitlines()[-1].startswith("sppkit plot --arch ")


def test_the_command_measures_what_the_table_ranked() -> None:
    out = suggest("--arch", "nf-resnet", "--weights", "none", "--alpha", 1, "--seeds", 2, "--out", "o")
    typed = shlex.split(out.partition(" Best: ")[2].splitlines()[1])
    assert typed[:2] == ["sppkit", "plot"]
    assert run(*typed[1:], "--out", "p")[0] == 0
    [anew] = Path("p").glob("*.csv")
    assert anew.read_bytes() == (Path("o") / anew.name).read_bytes()


def test_nothing_is_written_unless_asked_for() -> None:
    suggest("--arch", "bn-relu-conv")
    assert not list(Path().iterdir())


def test_out_writes_every_run_and_the_picture() -> None:
    out = suggest("--arch", "relu-bn-conv", "--skip-gain", "40", "--out", "o", "--format", "svg")
    written = [line.removeprefix("wrote ") for line in out.splitlines() if line.startswith("wrote ")]
    stems = [line.removesuffix(".csv and .json") for line in written[:-1]]
    assert written[-1] == "o/suggest.svg"
    picture = Path("o/suggest.svg").read_text(encoding="utf-8")
    assert ">remedies for relu-bn-conv, stages 2-2, width 0.125, skip gain 40</text>" in picture
    assert "o/relu-bn-conv-stages2-2-width0.125-skip-gain40" in stems
    files = [*(f"{stem}.{suffix}" for stem in stems for suffix in ("csv", "json")), "o/suggest.svg"]
    assert sorted(files) == sorted(str(path) for path in Path("o").iterdir())


def test_every_row_is_told_with_its_source() -> None:
    out = suggest("--arch", "he-resnet", "--stages", "3,3")
    tried = [trial.remedy for trial in iter_trials({"arch": "he-resnet", "stages": "3,3", "width": "0.125"})]
    assert len(tried) > 4
    assert all(f"{remedy.name}: {remedy.effect} ({remedy.source})" in out for remedy in tried)
    assert f"\n{AS_IT_IS}  " in out


@pytest.mark.parametrize("arch", ["relu-bn-conv", "bn-relu-conv", "nf-resnet"])
def test_a_healthy_network_is_called_so_and_left_alone(arch: str) -> None:
    out = suggest("--arch", arch, "--image-size", 64)
    assert "The signal is healthy as it is: the squared mean is at most 0." in out
    assert "There is nothing to mend." in out
    assert "Best" not in out


def test_quiet_prints_nothing() -> None:
    assert suggest("--arch", "bn-relu-conv", "--quiet") == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "nf-resnt"], "unknown architecture 'nf-resnt'; did you mean 'nf-resnet'?"),
        ([], "which network? Say --arch NAME"),
        (["--arch", "nf-resnet", "--norm", "bn"], "--norm means nothing for nf-resnet"),
        (
            ["--arch", "nf-resnet", "--stats", "channel_variance"],
            "suggest judges by channel_squared_mean too: leave out",
        ),
    ],
)
def test_a_mistake_gets_one_clear_line(arguments: list[str], message: str) -> None:
    code, out, err = run("suggest", *SMALL, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
