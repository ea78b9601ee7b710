"""Several networks beside each other: what is typed, what is measured, what is said of it."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from sppkit import registry
from sppkit.cli import console
from sppkit.cli.app import app
from sppkit.comparison.key_figures import key_figures, parting
from sppkit.comparison.lineup import Lineup, line_up
from sppkit.comparison.specs import parse_spec
from sppkit.errors import MeasurementError, UsageError
from sppkit.models.spec import build_spec
from sppkit.record.table import build_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

RUNNER = CliRunner()
SMALL = ["--stages", "1,2", "--width", "0.125", "--image-size", "32", "--batch-size", "4"]
TINY = {"stages": "1,2", "width": "0.125"}
FORMS = "A SPEC is ARCH[:key=value,...], timm:NAME, package.module:factory, path/file.py:factory or RUN.csv."


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def names(folder: str = "spp") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def labels(lineup: Lineup) -> list[str]:
    return [member.label for member in lineup.members]


def config_file(text: str) -> Path:
    path = Path("c.toml")
    path.write_text(text, encoding="utf-8")
    return path


PARSED = {
    "nf-resnet": {"arch": "nf-resnet"},
    "nf-resnet:weights=none,alpha=1": {"arch": "nf-resnet", "weights": "none", "alpha": "1"},
    "nf-resnet:skip-gain=0.5,se=true": {"arch": "nf-resnet", "skip_gain": "0.5", "se": True},
    "nf-resnet:skip_gain=0.5,se=false": {"arch": "nf-resnet", "skip_gain": "0.5", "se": False},
    "nf-resnet:stages=3,4,6,3,width=0.5": {"arch": "nf-resnet", "stages": "3,4,6,3", "width": "0.5"},
    "all:depth=50": {"arch": "all", "depth": "50"},
    "timm:resnet50": {"model": "timm:resnet50"},
    "timm:resnet50:seed=3": {"model": "timm:resnet50", "seed": "3"},
    "timm:resnet50:num_classes=10,seed=3": {"model": "timm:resnet50", "seed": "3", "kw": ["num_classes=10"]},
    "nets.py:small:depth=6,name=mine": {"model": "nets.py:small", "name": "mine", "kw": ["depth=6"]},
    "my.package:factory": {"model": "my.package:factory"},
    "nets/my-net.py:factory:batch-size=2": {"model": "nets/my-net.py:factory", "batch_size": "2"},
}


@pytest.mark.parametrize(("text", "expected"), PARSED.items(), ids=PARSED)
def test_a_spec_is_a_network_and_its_options(text: str, expected: dict[str, object]) -> None:
    spec = parse_spec(text)
    assert (spec.text, spec.options, spec.saved) == (expected.get("name", text), expected, None)


def test_a_name_is_the_label() -> None:
    assert parse_spec("nf-resnet:weights=none,name=He").text == "He"
    assert parse_spec("runs/a.csv").text == "a"
    assert (parse_spec("runs/a.csv:name=b").text, parse_spec("runs/a.csv").saved) == ("b", Path("runs/a.csv"))


MISTYPED = {
    "nf-resnt": "unknown architecture 'nf-resnt'; did you mean 'nf-resnet'?\n"
    "Known: bn-relu-conv, fixup, he-resnet, nf-regnet, nf-resnet, relu-bn-conv, skipinit.\n" + FORMS,
    "nf-resnt:alpha=1": "unknown architecture 'nf-resnt'; did you mean 'nf-resnet'?",
    "nf-resnet:alpha": "nf-resnet:alpha: the options of a SPEC are key=value, as in nf-resnet:width=0.5,",
    "nf-resnet:alpha=1,alpha=2": "nf-resnet:alpha=1,alpha=2: alpha is given twice. Keep one of the two.",
    "nf-resnet:out=x": "nf-resnet:out=x: out can't be an option of a SPEC. " + FORMS,
    "a.csv:alpha=1": "a.csv:alpha=1: a saved run has its options already; only name=TEXT can be given.",
    "nf-resnet\x1b[2J": "a SPEC must be a text without control characters, not 'nf-resnet\\x1b[2J'.",
    "": "unknown architecture ''",
}


@pytest.mark.parametrize(("text", "message"), MISTYPED.items(), ids=repr)
def test_what_is_no_spec_is_said(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(text)
    assert str(caught.value).startswith(message)


def test_own_options_win_over_flags_and_flags_over_the_file() -> None:
    file = config_file("width = 0.5\nalpha = 0.3\ndepth = 50\npadding = 'circular'")
    flags = {"width": "0.25", "seed": "7"}
    first, second = line_up(["nf-resnet:width=0.125,stages=1,1", "nf-resnet"], flags, file).members
    assert first.resolved is not None
    assert second.resolved is not None
    one, other = first.resolved.config, second.resolved.config
    assert (one.width, one.alpha, one.stages, one.depth, one.padding, one.seed) == (
        0.125,
        0.3,
        (1, 1),
        None,
        "circular",
        7,
    )
    assert (other.width, other.stages, other.depth) == (0.25, None, 50)
    sources = first.resolved.sources
    assert [sources[name] for name in ("width", "seed", "alpha", "norm")] == ["SPEC", "flag", "c.toml", "default"]


@pytest.mark.parametrize(("own", "shared"), [("stages=1,1", "depth"), ("depth=50", "stages")])
def test_an_own_size_replaces_the_flag_for_it(own: str, shared: str) -> None:
    value = {"depth": "101", "stages": "2,2"}[shared]
    first, _ = line_up([f"nf-resnet:{own}", "bn-relu-conv"], {shared: value}).members
    assert first.resolved is not None
    assert getattr(first.resolved.config, shared) is None


def test_a_comma_belongs_to_settings_as_well() -> None:
    options = parse_spec("bn-relu-conv:norm=gn,norm-kw=groups=16,affine=channel,width=0.5").options
    assert options == {"arch": "bn-relu-conv", "norm": "gn", "norm_kw": "groups=16,affine=channel", "width": "0.5"}


def test_a_shared_option_is_used_where_it_means_something() -> None:
    lineup = line_up(["bn-relu-conv", "nf-resnet", "he-resnet"], {**TINY, "alpha": "1", "norm": "none"})
    settings = [member.resolved.config for member in lineup.members if member.resolved]
    assert [(item.alpha, item.norm) for item in settings] == [(None, "none"), (1.0, None), (None, None)]
    assert lineup.notes == (
        "--alpha means nothing for bn-relu-conv, he-resnet and is used for the others.",
        "--norm means nothing for nf-resnet, he-resnet and is used for the others.",
    )


def test_a_model_of_the_users_own_takes_no_option_of_an_architecture() -> None:
    _, own = line_up(["nf-resnet", "timm:resnet50"], dict(TINY)).members
    assert own.resolved is not None
    assert own.resolved.config.model == "timm:resnet50"
    assert own.resolved.given() == {}


def test_all_is_one_network_for_each_name() -> None:
    lineup = line_up([], {**TINY, "arch": "bn-relu-conv", "norm": "all"})
    assert labels(lineup) == [f"bn-relu-conv:norm={name}" for name in registry.NORMALIZERS]
    built = [build_spec(m.resolved.config.arch, m.resolved.given()).norm for m in lineup.members if m.resolved]
    assert built == list(registry.NORMALIZERS)


def test_every_all_multiplies() -> None:
    lineup = line_up(["nf-resnet:weights=all"], {**TINY, "padding": "all"})
    pairs = [(weights, padding) for weights in registry.WEIGHTS for padding in ("zeros", "circular")]
    assert sorted(labels(lineup)) == sorted(f"nf-resnet:weights={w},padding={p}" for w, p in pairs)


def test_all_architectures() -> None:
    # NF-RegNets have variants instead of stages.
    known = [name for name in registry.ARCHITECTURES if name != "nf-regnet"]
    lineup = line_up(["all"], dict(TINY))
    assert labels(lineup) == known
    assert any("nf-regnet" in note for note in lineup.notes)
    assert labels(line_up(["all:se=true"], dict(TINY))) == [f"{name}:se=true" for name in known]


def test_all_types_and_modes_have_files_of_their_own() -> None:
    lineup = line_up(["nf-resnet"], {**TINY, "dtype": "all"})
    stem = "nf-resnet-stages1-2-width0.125-dtype"
    types = ("float32", "bfloat16", "float16", "float64")
    assert [member.stem for member in lineup.members] == [f"{stem}-{name}" for name in types]
    assert labels(line_up(["nf-resnet:mode=all"], dict(TINY))) == ["nf-resnet:mode=train", "nf-resnet:mode=eval"]


def test_all_passes_by_a_network_for_which_it_means_nothing() -> None:
    lineup = line_up(["bn-relu-conv", "nf-resnet"], {**TINY, "norm": "all"})
    assert labels(lineup) == [*(f"bn-relu-conv:norm={name}" for name in registry.NORMALIZERS), "nf-resnet"]
    assert lineup.notes == ("--norm means nothing for nf-resnet and is used for the others.",)


def test_files_have_the_names_that_plot_gives_them() -> None:
    lineup = line_up(
        ["nf-resnet:alpha=1", "nf-resnet", "nf-resnet:seed=3", "nf-resnet:name=mine,width=0.5"], dict(TINY)
    )
    stem = "nf-resnet-stages1-2-width0.125"
    assert [member.stem for member in lineup.members] == [f"{stem}-alpha1", stem, f"{stem}-seed-3", "mine"]


def test_a_toml_file_lists_networks() -> None:
    file = config_file('specs = ["bn-relu-conv", "nf-resnet:alpha=1,name=NF"]\nstages = [1, 2]\nwidth = 0.125')
    assert labels(line_up([], {}, file)) == ["bn-relu-conv", "NF"]
    assert labels(line_up(["all"], {}, file)) == [name for name in registry.ARCHITECTURES if name != "nf-regnet"]


REFUSED: dict[str, tuple[list[str], dict[str, object], str]] = {
    "nothing": ([], {}, f"which networks? {FORMS}\nTry: sppkit compare bn-relu-conv relu-bn-conv nf-resnet --depth 50"),
    "one": (["nf-resnet"], TINY, "nf-resnet is one network, and a comparison needs two or more.\nFor one network: "),
    "arch beside": (["nf-resnet"], {"arch": "he-resnet"}, "--arch means nothing beside SPECs; type it as one of them."),
    "same": (["nf-resnet", "nf-resnet:alpha=0.2"], TINY, "nf-resnet and nf-resnet:alpha=0.2 are the same network,"),
    "same, named": (["nf-resnet:name=a", "nf-resnet:name=b"], TINY, "a and b are the same network, measured in the"),
    "one name": (["nf-resnet:name=a", "he-resnet:name=a"], TINY, "two networks would be written as a; give one of"),
    "own": (["he-resnet", "nf-resnet:norm=bn"], TINY, "nf-resnet:norm=bn: --norm means nothing for nf-resnet, which"),
    "nobody's": (["he-resnet", "he-resnet:se=true"], {**TINY, "alpha": "1"}, "--alpha means nothing for any of these"),
    "flag": (["he-resnet", "nf-resnet"], {"depth": "abc"}, "--depth must be a whole number from 1 to 3000000,"),
    "value": (["he-resnet:width=x", "nf-resnet"], TINY, "he-resnet:width=x: --width must be a number of more than 0"),
    "unknown": (["he-resnet:alfa=1", "nf-resnet"], TINY, "he-resnet:alfa=1: unknown option 'alfa'; did you mean"),
    "all own": (["nf-resnet:norm=all", "he-resnet"], TINY, "nf-resnet:norm=bcn: --norm means nothing for nf-resnet"),
    "too many": (["all:activation=all"], TINY, "these are 138 networks; one picture can show at most 32."),
    "saved": (["a.csv", "b.csv"], {"seed": "3"}, "--seed means nothing for saved runs; only --out, --name"),
    "same file": (["a.csv", "./a.csv:name=b"], {}, "a and b are the same network, measured in the same way;"),
}  # fmt: skip


@pytest.mark.parametrize(("texts", "flags", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_compared_is_refused(texts: list[str], flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        line_up(texts, flags)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("listed", ['"nf-resnet"', "[1, 2]", '[""]', "[]"])
def test_specs_of_a_file_are_a_list_of_texts(listed: str) -> None:
    with pytest.raises(UsageError, match=r"^c\.toml: specs must be a list of SPECs, as in specs = "):
        line_up([], {}, config_file(f"specs = {listed}"))


def test_an_architecture_beside_the_networks_of_a_file_is_refused() -> None:
    file = config_file('specs = ["nf-resnet", "he-resnet"]\ndepth = 50')
    with pytest.raises(UsageError, match=r"^c\.toml lists networks as specs; --arch beside them means nothing\.$"):
        line_up([], {"arch": "bn-relu-conv"}, file)


@pytest.mark.parametrize("command", ["plot", "suggest", "inspect"])
def test_a_file_of_several_networks_is_for_compare(command: str) -> None:
    config_file('specs = ["nf-resnet", "he-resnet"]\ndepth = 50')
    code, _, err = run(command, "--config", "c.toml")
    assert (code, err) == (
        2,
        "error: c.toml lists several networks.\nTo compare them: sppkit compare --config c.toml\n",
    )


def test_a_name_that_an_architecture_refuses_is_left_out_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_basic(arch: str, given: dict[str, object]) -> object:
        if given.get("block") == "basic":
            raise UsageError("no basic block here.")
        return build_spec(arch, given)

    monkeypatch.setattr("sppkit.comparison.lineup.build_spec", refuse_basic)
    lineup = line_up(["nf-resnet:block=all", "he-resnet"], dict(TINY))
    assert labels(lineup) == ["nf-resnet:block=bottleneck", "he-resnet"]
    assert lineup.notes == ("nf-resnet:block=basic is left out: no basic block here.",)


# (stage, squared mean, variance, residual variance)
Row = tuple[int, float, float, float | None]
ROWS: list[Row] = [(0, 9.0, 1.0, None), (1, 0.5, 2.0, 0.9), (1, 1.5, 3.0, 1.1), (2, 0.1, 2.0, 1.0), (2, 0.9, 4.0, 2.0)]


def table(rows: Sequence[Row] = ROWS, lost: int = 0, seeds: int = 1) -> pd.DataFrame:
    keys = ("stage", "channel_squared_mean", "channel_variance", "residual_variance")
    return build_table(
        {"seed": seed, "block": block, "name": f"b{block}", "nonfinite": int(0 < lost <= block)}
        | dict(zip(keys, row, strict=True))
        for seed in range(seeds)
        for block, row in enumerate(rows)
    )  # fmt: skip


def changed(block: int, **values: float) -> pd.DataFrame:
    frame = table()
    for name, value in values.items():
        frame.loc[frame["block"] == block, name] = value
    return frame


def test_key_figures_are_those_of_the_blocks() -> None:
    figures = key_figures(table(seeds=2))
    assert (figures.ratio, figures.ratio_block) == (0.5, 2)  # not the stem's 9
    assert (figures.starts, figures.ends, figures.lengths) == ((2.0, 2.0), (3.0, 4.0), (2, 2))
    assert figures.residuals == pytest.approx((1.0, 1.5))
    assert figures.residual == pytest.approx(1.05)  # of 0.9, 1, 1.1, 2
    assert figures.nonfinite is None


def test_key_figures_of_a_lost_signal() -> None:
    figures = key_figures(table([*ROWS[:3], (2, math.inf, math.nan, math.nan)], lost=3))
    assert (figures.nonfinite, figures.ratio, figures.ratio_block) == (3, 0.5, 2)
    assert math.isnan(figures.ends[1])


def test_key_figures_without_branches_and_without_stages() -> None:
    frame = table([(stage, mean, variance, None) for stage, mean, variance, _ in ROWS])
    assert key_figures(frame).residuals == ()
    assert math.isnan(key_figures(frame).residual)
    frame["stage"] = frame["stage"].mask(frame["block"] >= 0)
    assert (key_figures(frame).starts, key_figures(frame).lengths) == ((2.0,), (4,))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (table(), None),
        (changed(0, channel_variance=50.0), None),  # the stem is no block
        (changed(3, channel_variance=2.49), None),
        (changed(3, channel_variance=2.51), (3, "channel variance")),
        (changed(3, channel_variance=1.59), (3, "channel variance")),  # 2/1.59 = 1.26
        (changed(4, residual_variance=2.6), (4, "residual variance")),
        (changed(2, channel_squared_mean=2.2), None),  # 0.7/3
        (changed(2, channel_squared_mean=2.3), (2, "channel squared mean")),  # 0.8/3
        (changed(1, channel_squared_mean=1.2, channel_variance=20.0), (1, "channel variance")),
        (table(ROWS[:4]), None),  # another depth
    ],
)
def test_runs_part_where_they_differ_by_a_quarter(other: pd.DataFrame, expected: tuple[int, str] | None) -> None:
    assert parting(table(), other) == expected


def compare(*arguments: object) -> str:
    code, out, err = run("compare", *SMALL, *arguments)
    assert code == 0, err
    return out


def test_compare_writes_each_network_and_one_picture() -> None:
    out = compare("bn-relu-conv", "nf-resnet:alpha=1", "--format", "png,svg")
    stems = ["bn-relu-conv-stages1-2-width0.125", "nf-resnet-stages1-2-width0.125-alpha1"]
    files = [*(f"{stem}.{suffix}" for stem in stems for suffix in ("csv", "json")), "compare.png", "compare.svg"]
    assert names() == sorted(files)
    tables = "".join(f"wrote spp/{stem}.csv and .json\n" for stem in stems)
    assert out.endswith(f"{tables}wrote spp/compare.png\nwrote spp/compare.svg\n")
    assert out.startswith("stages 1-2, width 0.125\nGaussian input 4×3×32×32 · train mode · float32 · seed 0\n")
    svg = Path("spp/compare.svg").read_text(encoding="utf-8")
    assert all(f">{label}</text>" in svg for label in ("bn-relu-conv", "nf-resnet:alpha=1", "stages 1-2, width 0.125"))


def test_a_network_is_measured_as_plot_measures_it() -> None:
    compare("he-resnet", "nf-resnet:weights=none,alpha=1", "--seeds", 2)
    stem = "nf-resnet-stages1-2-width0.125-weights-none-alpha1"
    assert (
        run("plot", "--arch", "nf-resnet", "--weights", "none", "--alpha", 1, *SMALL, "--seeds", 2, "--out", "p")[0]
        == 0
    )
    assert Path(f"spp/{stem}.csv").read_bytes() == Path(f"p/{stem}.csv").read_bytes()
    ours, theirs = (json.loads(Path(f"{folder}/{stem}.json").read_text(encoding="utf-8")) for folder in ("spp", "p"))
    assert ours["network"] == theirs["network"]
    assert ours["options"]["alpha"] == {"value": 1.0, "source": "SPEC"}


def test_the_summary_says_what_tells_the_networks_apart() -> None:
    lines = compare("relu-bn-conv", "he-resnet", "--stages", "3,4,6,3").splitlines()
    [mine] = [line for line in lines if line.startswith("he-resnet")]
    with Path("spp/he-resnet-stages3-4-6-3-width0.125.csv").open(encoding="utf-8") as file:
        blocks = [row for row in csv.DictReader(file) if row["block"] != "0"]
    ratios = [float(row["channel_squared_mean"]) / float(row["channel_variance"]) for row in blocks]
    assert f"{max(ratios):.3g} (block {1 + ratios.index(max(ratios))})" in mine
    assert all(f"{float(blocks[at]['channel_variance']):.3g}" in mine for at in (2, 6, 12, 15))  # 3, 4, 6, 3 blocks
    assert "block 1, channel squared mean" in mine
    assert any(line.startswith("BAD  he-resnet: The variance explodes") for line in lines)
    assert not any(line.startswith("BAD  relu-bn-conv") for line in lines)


def test_saved_runs_are_compared_without_torch() -> None:
    compare("bn-relu-conv", "he-resnet")
    saved = [f"spp/{name}-stages1-2-width0.125.csv" for name in ("bn-relu-conv", "he-resnet")]
    code = (
        f"import sys; sys.argv = ['sppkit', 'compare', *{saved}, '--out', 'o', '--name', 'both']\n"
        "from sppkit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert names("o") == ["both.png"]
    assert "he-resnet-stages1-2-width0.125" in done.stdout


def test_a_saved_run_beside_a_new_one() -> None:
    run("plot", "--arch", "he-resnet", *SMALL, "--name", "old")
    out = compare("spp/old.csv", "nf-resnet")
    assert "\nold " in out
    assert "old.csv" not in out.partition("wrote")[2]  # it is there already


def test_a_saved_run_is_not_overwritten() -> None:
    run("plot", "--arch", "nf-resnet", *SMALL)
    stem = "spp/nf-resnet-stages1-2-width0.125"
    before = {path: path.read_bytes() for path in Path("spp").iterdir()}
    code, _, err = run("compare", f"{stem}.csv:name=old", "nf-resnet", *SMALL)
    assert (code, err) == (
        2,
        f"error: {stem}.csv is to be compared, and would be overwritten by a new run; choose another --out DIR.\n",
    )
    assert {path: path.read_bytes() for path in Path("spp").iterdir()} == before


def test_an_exploding_network_exits_zero_and_says_so() -> None:
    out = compare("he-resnet", "nf-resnet", "--stages", "20,20", "--dtype", "float16")
    assert "non-finite from block" in out
    assert "BAD  he-resnet: The signal is not finite from block" in out


def test_a_warning_is_said_once_with_the_networks_it_is_about() -> None:
    code, _, err = run("compare", "nf-resnet", "bn-relu-conv", "relu-bn-conv", *SMALL, "--mode", "eval")
    assert code == 0
    [line] = err.splitlines()
    assert line.startswith("warning: bn-relu-conv, relu-bn-conv: eval mode uses running statistics")


def test_quiet_prints_nothing_and_a_pipe_gets_no_progress() -> None:
    assert compare("he-resnet", "nf-resnet", "--quiet") == ""
    code, _, err = run("compare", "he-resnet", "nf-resnet", *SMALL)
    assert (code, err) == (0, "")


def test_progress_names_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Shown:
        def __enter__(self) -> Any:
            return lambda task, done, total: seen.append(task)

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(console, "progress", lambda *, quiet: Shown())
    compare("he-resnet", "nf-resnet")
    assert list(dict.fromkeys(seen)) == [
        "1/2 he-resnet: drawing weights", "1/2 he-resnet: measuring",
        "2/2 nf-resnet: drawing weights", "2/2 nf-resnet: measuring",
    ]  # fmt: skip


def test_a_failure_in_the_last_network_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def iter_failing(members: Sequence[object], progress: object) -> Iterator[object]:
        yield from genuine(members[:1], progress)
        raise MeasurementError("nf-resnet: it broke.")

    from sppkit.comparison import runs

    genuine = runs.iter_measured
    monkeypatch.setattr(runs, "iter_measured", iter_failing)
    code, _, err = run("compare", "he-resnet", "nf-resnet", *SMALL)
    assert (code, err) == (2, "error: nf-resnet: it broke.\n")
    assert not Path("spp").exists()


def test_a_forward_pass_that_fails_names_its_network() -> None:
    code, _, err = run("compare", "nf-resnet", "bn-relu-conv", "--stages", "1,1", "--width", "0.125", "--shape", "3,1")
    assert (code, err.partition(":")[0]) == (2, "error")
    assert "nf-resnet: --shape must be 3,height,width" in err


def test_a_broken_saved_run_is_said_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t.csv").write_text("nonsense\n", encoding="utf-8")
    monkeypatch.setattr("sppkit.comparison.runs._measure_member", lambda *_: pytest.fail("measured"))
    code, _, err = run("compare", "nf-resnet", "t.csv", *SMALL)
    assert code == 2
    assert err.startswith("error: t.csv is not a table of sppkit")
    assert not Path("spp").exists()


def test_statistics_that_were_not_measured_are_empty_cells() -> None:
    out = compare("relu-bn-conv", "he-resnet", "--stats", "channel_squared_mean")
    assert "nan" not in out


def test_names_are_printed_as_typed() -> None:
    out = compare("he-resnet:name=[bold]x", "nf-resnet:name=_y")
    assert "\n[bold]x  " in out
    assert "\n_y  " in out
    assert {"[bold]x.csv", "_y.json"} <= set(names())


@pytest.mark.parametrize("command", ["compare", "suggest"])
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        f"import sys; sys.argv = ['sppkit', '{command}', '--help']\n"
        "from sppkit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"sppkit {command} " in done.stdout


def test_a_mistyped_spec_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['sppkit', 'compare', 'nf-resnt', 'he-resnet', '--depth', '50']\n"
        "from sppkit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 2\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
