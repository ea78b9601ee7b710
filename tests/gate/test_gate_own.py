"""The gate on a network of the user's own, which declares nothing: found joins, leaf modules, tokens, old commits."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from sppkit.cli.app import app
from sppkit.integrations.pytest_plugin import assert_spp
from sppkit.record.source_lines import locate_blocks

RUNNER = CliRunner()
# The lines of the classes are part of what is tested: Block at 5, Net at 16.
CODE = """import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        branch = self.conv(torch.relu(self.norm(x)))
        return x + branch


class Net(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.Sequential(*[Block(16) for _ in range(depth)])

    def forward(self, x):
        return self.blocks(self.stem(x))


def build(depth=3):
    return Net(depth)


def plain(classes=1000):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, classes), nn.Softmax(1),
    )


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mix = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm0, self.norm1 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x):
        y = self.norm0(x)
        x = x + self.attend(y, y, y, need_weights=False)[0]
        return x + self.mix(self.norm1(x))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.layers = nn.ModuleList(Layer(32) for _ in range(2))

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return x
"""
NET = ["--model", "nets.py:build", "--shape", "3,12,12", "--batch-size", "4", "--name", "net"]
# Twice the branch: a fault of the code, not of an option.
FAULTY = CODE.replace("return x + branch", "return x + 3 * branch")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(CODE)


def write(code: str) -> None:
    path = Path("nets.py")
    before = path.stat().st_mtime if path.exists() else None
    path.write_text(code, encoding="utf-8")
    if before is not None:
        # Python takes what it has compiled for up to date if size and whole seconds are the same.
        os.utime(path, (before + 2, before + 2))


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def bless(*arguments: str) -> None:
    assert run("check", *arguments)[0] == 0
    code, _, err = run("bless", "spp/net.csv", "--reason", "first")
    assert code == 0, err


@pytest.mark.parametrize("changed", ["torch.relu(self.norm(x)) + 0.3", "nn.functional.softplus(self.norm(x))"])
def test_a_changed_activation_turns_the_build_red_and_is_called_a_mean_shift(changed: str) -> None:
    bless(*NET)
    write(CODE.replace("torch.relu(self.norm(x))", changed))
    code, out, _ = run("check", *NET)
    told = " ".join(out.split())
    assert code == 1
    assert "the first is block 1 (blocks.0)" in told
    assert "squared mean's share against baseline" in told
    assert "cause the mean shifts, from " in told
    assert "the activation is another" in told
    # The same function in other words computes the same.
    write(CODE.replace("torch.relu(self.norm(x))", "nn.functional.leaky_relu(self.norm(x), 0.0)"))
    assert run("check", *NET)[0] == 0


def test_a_derivative_that_changes_with_the_values_is_not_said_to_be_detached_alone() -> None:
    # A ripple is small, and its slope is not: values stay within their limits, and derivatives do not.
    bless(*NET)
    sharp = "nn.functional.elu(self.norm(x), 0.05) + 0.02 * torch.sin(60 * self.norm(x))"
    write(CODE.replace("torch.relu(self.norm(x))", sharp))
    code, out, _ = run("check", *NET)
    told = " ".join(out.split())
    assert code == 1
    assert "gradient" in told
    assert "its activation or padding is another" in told
    # Where no value is another, nothing but the backward pass is.
    write(CODE.replace("return x + branch", "return x + branch.detach()"))
    told = " ".join(run("check", *NET)[1].split())
    assert "every forward value is the baseline's" in told
    assert "activation or padding" not in told


def test_check_then_bless_then_a_fault_in_the_code() -> None:
    code, out, err = run("check", *NET)
    assert (code, err) == (0, "")
    assert out.startswith("PASS net: 4 blocks, 4 seeds; judged by policy any\n")
    assert json.loads(Path("spp/net.json").read_text())["sources"] == {
        "stem": ["nets.py", 16], "blocks.0": ["nets.py", 5], "blocks.1": ["nets.py", 5], "blocks.2": ["nets.py", 5],
    }  # fmt: skip
    bless(*NET)
    assert run("check", *NET, "--seed", "20")[0] == 0
    write(FAULTY)
    reports = [f"--report={kind}=out.{kind}" for kind in ("sarif", "github", "gitlab")]
    code, out, _ = run("check", *NET, *reports)
    assert code == 1
    assert "the first is block 1 (blocks.0)" in out
    assert "of the branch's variance is added: a factor before the addition (alpha) is too large" in " ".join(
        out.split()
    )
    place = json.loads(Path("out.sarif").read_text())["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "nets.py"
    assert place["region"]["startLine"] == 5
    assert "file=nets.py,line=5" in Path("out.github").read_text()
    assert json.loads(Path("out.gitlab").read_text())[0]["location"] == {"path": "nets.py", "lines": {"begin": 5}}


def test_a_renamed_module_is_matched_and_an_added_block_is_told() -> None:
    bless(*NET)
    write(CODE.replace("blocks", "body"))
    code, out, _ = run("check", *NET)
    assert code == 0
    assert "renamed, and compared under the new name: blocks.0 is now body.0" in out
    write(CODE.replace("depth=3", "depth=4"))
    code, out, _ = run("check", *NET)
    assert (code, "new, and not in the baseline: blocks.3" in out) == (0, True)


def test_a_block_that_vanished_is_shown_at_the_factory() -> None:
    bless(*NET)
    write(CODE.replace("depth=3", "depth=2"))
    code, out, _ = run("check", *NET, "--report", "sarif=out.sarif")
    assert (code, "blocks.2 is in the baseline and not in this run" in out) == (1, True)
    result = json.loads(Path("out.sarif").read_text())["runs"][0]["results"][0]
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region["startLine"] == CODE.splitlines().index("def build(depth=3):") + 1


def test_arguments_and_reinit_make_another_run_of_it() -> None:
    bless(*NET)
    for options, told in (
        (["--kw", "depth=2"], "--kw: {'depth': 2} here"),
        (["--reinit", "keyed"], "--reinit: keyed here, None in the baseline"),
    ):
        code, out, _ = run("check", *NET, *options)
        assert (code, told in out) == (3, True), out


def test_keyed_weights_stay_when_the_code_is_put_in_another_order() -> None:
    bless(*NET, "--reinit", "keyed")
    lines = CODE.splitlines(keepends=True)
    stem = next(index for index, line in enumerate(lines) if "self.stem =" in line)
    lines[stem], lines[stem + 1] = lines[stem + 1], lines[stem]
    write("".join(lines))
    assert run("check", *NET, "--reinit", "keyed", "--exact")[0] == 0
    assert run("check", *NET[:-1], "other", "--baseline", ".sppkit/baselines/net.json")[0] == 3


def test_a_network_without_joins() -> None:
    # A pool averages the noise away and softmax divides by a thousand: no fault, whatever the numbers say.
    plain = ["--model", "nets.py:plain", *NET[2:]]
    code, out, _ = run("check", *plain)
    assert (code, out.startswith("WARN net: 1 warning")) == (0, True), out
    assert "sums to 1 over 1000 channels: probabilities, not logits" in out.replace("\n", " ")
    bless(*plain)
    write(CODE.replace("nn.BatchNorm2d(16), nn.ReLU()", "nn.Identity(), nn.ReLU()"))
    code, out, _ = run("check", *plain)
    assert (code, "the first is block 1 (1)" in out) == (1, True), out


def test_a_signal_that_vanishes_without_joins_fails() -> None:
    # A layer of PyTorch's own initialization keeps a third: of 16 some hundred-millionths are left, with which networks
    # still learn, of 40 less than the biases are rounded to.
    factory = "\n\ndef layers(number=40):\n    return nn.Sequential(*[nn.Linear(8, 8) for _ in range(number)])\n"
    write(CODE + factory)
    given = ["--model", "nets.py:layers", "--shape", "8", "--batch-size", "32"]
    code, out, _ = run("check", *given)
    assert (code, "identical-samples" in out) == (1, True), out
    code, out, _ = run("check", *given, "--kw", "number=16")
    assert (code, out.startswith("WARN")) == (0, True), out


def test_a_transformer() -> None:
    tokens = ["--model", "nets.py:Transformer", "--input", "tokens", "--vocab", "50", "--shape", "12", "--name", "net"]
    bless(*tokens)
    table = Path("spp/net.csv").read_text().splitlines()
    assert [line.split(",")[3:7] for line in table[1:3]] == [["stem", "32", "12", ""], ["layers.0#1", "32", "12", ""]]
    assert json.loads(Path("spp/net.json").read_text())["sources"]["layers.0#2"][0] == "nets.py"
    write(CODE.replace("self.mix(self.norm1(x))", "4 * self.mix(self.norm1(x))"))
    code, out, _ = run("check", *tokens)
    assert (code, "(layers.0#2)" in out) == (1, True), out


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("named", ["relative", "absolute"])
def test_another_commit_is_measured_with_its_own_file(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), str(Path.cwd())]))
    git("init", "--quiet")
    git("add", "nets.py")
    git("commit", "-m", "sound", "--quiet")
    write(FAULTY)
    file = "nets.py" if named == "relative" else str(Path("nets.py").resolve())
    code, out, _ = run("check", "--model", f"{file}:build", *NET[2:], "--seeds", "2", "--against", "git:HEAD")
    # Its own file has no fault: were this checkout's measured on both sides, nothing would differ.
    assert (code, "the first is block 1 (blocks.0)" in out) == (1, True), out


def test_corrections_that_the_other_commit_lacks_are_used_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    git("init", "--quiet")
    git("add", "nets.py")
    git("commit", "-m", "sound", "--quiet")
    Path("sites.toml").write_text('[[join]]\nname = "blocks.2"\nkeep = false\n', encoding="utf-8")
    code, out, err = run("check", *NET, "--seeds", "1", "--sites", "sites.toml", "--against", "git:HEAD", "--exact")
    assert (code, out.startswith("PASS net: 3 blocks")) == (0, True), out + err


def test_the_plugin_on_a_model_that_declares_nothing() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.conv(torch.relu(x))

    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3), Block(), Block())

    verdict = assert_spp(build, shape=(3, 12, 12))
    assert verdict.sites == ("stem", "1", "2")
    file, line = verdict.places["2"]
    assert Path(file).name == "test_gate_own.py"
    assert "class Block" in Path(__file__).read_text().splitlines()[line - 1]


def test_only_the_users_own_code_is_pointed_at() -> None:
    library = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    assert locate_blocks(library, ["0", "1"], own=True) == {}
    assert locate_blocks(library, ["0"])["0"][0].endswith("conv.py")
