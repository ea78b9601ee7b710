"""``check``, ``bless`` and ``diff`` as a user meets them: exit codes, files, and what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sppkit.cli.app import app
from sppkit.record.table import read_csv, write_csv

RUNNER = CliRunner()
SMALL = ["--stages", "2,2", "--width", "0.125", "--image-size", "32", "--batch-size", "4", "--name", "net"]
NF = ["--arch", "nf-resnet", *SMALL]
BASELINE = Path(".sppkit/baselines/net.json")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def bless(*arguments: object) -> None:
    assert run("check", *(arguments or NF))[0] == 0
    code, _, err = run("bless", "spp/net.csv", "--reason", "first")
    assert code == 0, err


def test_a_healthy_network_passes_and_says_what_next() -> None:
    code, out, err = run("check", *NF)
    assert (code, err) == (0, "")
    assert out.startswith("PASS net: 5 blocks, 4 seeds; judged by policy nf-resnet, theory\n")
    assert 'sppkit bless spp/net.csv --reason "..."' in out
    assert sorted(path.name for path in Path("spp").iterdir()) == ["net.csv", "net.json"]
    record = json.loads(Path("spp/net.json").read_text())
    assert record["seeds"] == [0, 1, 2, 3]
    assert record["options"]["seeds"] == {"value": 4, "source": "default"}
    assert not Path(".sppkit").exists()


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--gain", "1"], "times the one that keeps the variance of relu"),
        (["--weights", "none"], "this is the mean shift of ReLU followed by weights with non-zero mean"),
    ],
)
def test_an_unhealthy_network_fails_whatever_was_asked_for(options: list[str], cause: str) -> None:
    code, out, _ = run("check", *NF, *options)
    assert code == 1
    assert out.startswith("FAIL net: 4 of 5 blocks fail, the first is block 1 (blocks.0)\n")
    assert cause in " ".join(out.split())
    assert "sppkit plot spp/net.csv" in out


def test_an_exploding_network_fails() -> None:
    assert run("check", "--arch", "he-resnet", *SMALL, "--stages", "4,4,4")[0] == 1


def test_a_saved_run_is_judged_without_torch() -> None:
    run("check", *NF)
    code = "import sys; sys.argv = ['sppkit', 'check', 'spp/net.csv']\nfrom sppkit.__main__ import main\ntry: main()\n"
    code += "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("0 False\n")


def test_a_baseline_that_was_asked_for_and_is_not_there() -> None:
    code, out, _ = run("check", *NF, "--baseline", ".sppkit/baselines")
    assert code == 3
    assert out.startswith("NO BASELINE net: there is no baseline .sppkit/baselines/net.json\n")
    assert 'sppkit bless spp/net.csv --reason "..."' in out
    assert not BASELINE.exists()


def test_bless_then_check_then_a_regression_then_green_again() -> None:
    bless()
    assert json.loads(BASELINE.read_text())["accepted"]["reason"] == "first"
    code, out, _ = run("check", *NF, "--seed", "50")
    assert code == 0
    assert "judged by policy nf-resnet, theory, baseline net" in out
    assert "seeds: 50 to 53 here, 0 to 3 in the baseline" in out
    table = read_csv("spp/net.csv")
    table.loc[table["name"] == "blocks.2", "channel_squared_mean"] += 3.0
    write_csv(table, "spp/net.csv")
    code, out, _ = run("check", "spp/net.csv")
    assert code == 1
    assert "the first is block 3 (blocks.2)" in out
    assert "sppkit diff .sppkit/baselines/net.json spp/net.csv" in out
    assert "(if the change is meant)" in out
    code, out, _ = run("check", "spp/net.csv", "--baseline", "none", "--policy", "any")
    assert (code, "squared mean against theory" in out) == (1, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--mode", "eval"], "mode: eval here, train in the baseline"),
        (["--dtype", "float64"], "dtype: float64 here, float32 in the baseline"),
        (["--alpha", "0.3"], "alpha: 0.3 here, 0.2 in the baseline"),
        (["--image-size", "64"], "shape of a sample: 3×64×64 here, 3×32×32 in the baseline"),
        (["--stages", "2,3"], "stages: [2, 3] here, [2, 2] in the baseline"),
    ],
)
def test_another_question_is_not_compared(options: list[str], told: str) -> None:
    bless()
    code, out, _ = run("check", *NF, *options)
    assert code == 3
    assert told in out
    assert "(replaces the baseline), or a --name of its own" in out


def test_exact() -> None:
    bless()
    assert run("check", *NF, "--exact")[0] == 0
    table = read_csv("spp/net.csv")
    table.loc[3, "channel_variance"] *= 1 + 1e-7
    write_csv(table, "spp/net.csv")
    code, out, _ = run("check", "spp/net.csv", "--exact")
    assert code == 1
    assert "variance against baseline, exactly" in out
    assert run("check", "spp/net.csv")[0] == 0
    code, _, err = run("check", *NF, "--exact", "--baseline", "none")
    assert code == 2
    assert "--exact compares with a baseline: give --baseline, or --against git:REF." in err


def test_reports_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    code, out, _ = run(
        "check", *NF, "--gain", "1", "--report", "junit=a.xml", "--report", "json=b.json", "--report", "github"
    )
    assert code == 1
    assert out.startswith("::error title=sppkit%3A net blocks.0::")
    assert Path("a.xml").exists()
    assert json.loads(Path("b.json").read_text())["runs"][0]["name"] == "net"
    assert "FAIL net" in Path("summary.md").read_text()
    code, _, err = run("check", *NF, "--report", "junit=no/such/a.xml")
    assert (code, "there is no folder no/such" in err) == (2, True)


def test_a_report_on_standard_output_stands_alone() -> None:
    code, out, _ = run("check", *NF, "--gain", "1", "--report", "json=-")
    assert (code, json.loads(out)["passed"]) == (1, False)


def test_quiet_says_nothing_but_failures() -> None:
    assert run("check", *NF, "--quiet") == (0, "", "")
    code, out, _ = run("check", *NF, "--quiet", "--gain", "1")
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()[:4:3]] == ["FAIL", "cause"]
    assert "  next     sppkit plot spp/net.csv\n" in out


def test_several_runs_in_one_configuration() -> None:
    Path("pyproject.toml").write_text(
        '[tool.sppkit]\nwidth = 0.125\nimage-size = 32\nstages = [1, 1]\nbatch-size = 4\n'
        '[[tool.sppkit.run]]\narch = "bn-relu-conv"\n'
        '[[tool.sppkit.run]]\narch = "nf-resnet"\nname = "two"\nseeds = 2\n'
        'policy = {channel_variance = {max = 0.1, level = "warn"}}\n',
        encoding="utf-8",
    )  # fmt: skip
    code, out, err = run("check")
    assert (code, err) == (0, "")
    assert "PASS bn-relu-conv-stages1-1-width0.125: 3 blocks, 4 seeds" in out
    assert "WARN two: 3 warnings" in out
    assert json.loads(Path("spp/two.json").read_text())["options"]["width"]["source"] == "pyproject.toml"
    assert run("check", "--seeds", "1")[1].count("1 seed;") == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('arch = "nf-resnet"\n[[run]]\nstages=[1]\nname="a"\n[[run]]\nstages=[2]\nname="a"', "two runs are called 'a'"),
        ('run = 3', "run must be tables, as in [[run]], not 3"),
        ('arch = "nf-resnet"\ndept = 3', "unknown option 'dept'; did you mean 'depth'?"),
        ('arch = "nf-resnet"\nstages=[1]\npolicy = {growth = {max = -1}}', "must be a finite number of at least 0"),
        ('x = [', "is not valid TOML"),
    ],
)  # fmt: skip
def test_a_wrong_configuration(text: str, told: str) -> None:
    Path("sppkit.toml").write_text(text, encoding="utf-8")
    code, _, err = run("check")
    assert (code, told in err) == (2, True), err


def test_without_a_network_it_asks_for_one() -> None:
    code, _, err = run("check")
    assert code == 2
    assert err.startswith("error: which network? Say --arch NAME")


def test_bless_refuses_under_ci_and_without_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    run("check", *NF)
    code, _, err = run("bless", "spp/net.csv")
    assert (code, err) == (2, 'error: a baseline says why it was accepted: add --reason "..."\n')
    monkeypatch.setenv("CI", "true")
    code, _, err = run("bless", "spp/net.csv", "--reason", "x")
    assert (code, "CI is set here" in err) == (2, True)
    assert not BASELINE.exists()
    assert run("bless", "spp/net.csv", "--reason", "x", "--allow-ci")[0] == 0


def test_bless_shows_the_difference_and_replaces_a_broken_baseline() -> None:
    bless()
    run("check", *NF, "--alpha", "1")
    code, out, _ = run("bless", "spp/net.csv", "--reason", "alpha 1")
    assert code == 0
    assert "another question: alpha: 1.0 here, 0.2 in the baseline" in out
    assert "of 5 blocks differ by more than they may" in out
    BASELINE.write_text("<<<<<<< HEAD\n", encoding="utf-8")
    code, _, err = run("check", "spp/net.csv")
    assert (code, "merge conflict" in err) == (2, True)
    code, _, err = run("bless", "spp/net.csv", "--reason", "repaired")
    assert (code, "the old baseline can't be shown" in err) == (0, True)
    assert run("check", "spp/net.csv")[0] == 0


def test_diff() -> None:
    run("check", *NF)
    run("check", *NF, "--name", "other", "--seed", "9")
    run("check", *NF, "--name", "wrong", "--gain", "1")
    code, out, _ = run("diff", "spp/net.csv", "spp/other.csv", "--exit-code")
    assert code == 0
    assert out.endswith("nothing differs that matters.\n")
    assert run("diff", "spp/net.csv", "spp/other.csv", "--exit-code", "--exact")[0] == 1
    code, out, _ = run("diff", "spp/net.csv", "spp/wrong.csv")
    assert code == 0
    assert "* 4 of 5 blocks differ" in out
    assert run("diff", "spp/net.csv", "spp/wrong.csv", "--exit-code", "--quiet") == (1, "", "")
    assert run("diff", "spp/net.csv", "none.csv")[0] == 2


def test_two_references_are_one_too_many() -> None:
    code, _, err = run("check", *NF, "--against", "git:HEAD", "--baseline", "x.json")
    assert (code, "--against and --baseline both say what to compare with; give one of them." in err) == (2, True)


def test_meaningless_flags_of_a_saved_run_are_refused() -> None:
    run("check", *NF)
    for flags in (["--seeds", "2"], ["--against", "git:HEAD"], ["--config", "x.toml"]):
        code, _, err = run("check", "spp/net.csv", *flags)
        assert (code, f"{flags[0]} means nothing for a saved run" in err) == (2, True)


# --- another commit


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def test_against_another_commit_measures_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2])]))
    git("init", "--quiet")
    Path("a.txt").write_text("1", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "one", "--quiet")
    Path("a.txt").write_text("2", encoding="utf-8")
    code, out, err = run("check", *NF, "--against", "git:HEAD", "--exact")
    assert code == 0, err
    assert "judged by policy nf-resnet, theory, baseline git:" in out
    assert "files that are not committed are part of what is measured here" in err
    worktrees = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert worktrees.count("\n") == 1
    assert list(Path("spp").glob("*.csv")) == [Path("spp/net.csv")]


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("HEAD", "--against must be git: and a commit, as in git:origin/main, not 'HEAD'"),
        ("git:", "--against must be git: and a commit"),
        ("git:no/such", "this repository has no commit 'no/such'. To see what there is: git branch --all"),
        ("git:--help", "this repository has no commit '--help'"),
        ("git:HEAD;touch x", "this repository has no commit 'HEAD;touch x'"),
    ],
)
def test_a_reference_that_does_not_exist(reference: str, told: str) -> None:
    git("init", "--quiet")
    git("commit", "--allow-empty", "-m", "one", "--quiet")
    code, _, err = run("check", *NF, "--against", reference)
    assert (code, told in err) == (2, True), err
    assert not Path("x").exists()


def test_a_shallow_clone_is_told_how_to_get_more() -> None:
    git("init", "--quiet", "one")
    for message in ("a", "b"):
        git("-C", "one", "commit", "--allow-empty", "-m", message, "--quiet")
    git("clone", "--depth", "1", "--quiet", f"file://{Path('one').resolve()}", "two")
    os.chdir("two")
    code, _, err = run("check", *NF, "--against", "git:HEAD~1")
    assert (code, "This is a shallow clone" in err) == (2, True)


def test_outside_of_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path.cwd().parent))
    code, _, err = run("check", *NF, "--against", "git:HEAD")
    assert (code, "this folder is in no git repository" in err) == (2, True)
