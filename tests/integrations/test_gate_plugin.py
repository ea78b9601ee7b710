"""The pytest plugin, in a pytest of its own: red, blessed, green, red."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from torch import nn

from sppkit.integrations import pytest_plugin as plugin
from sppkit.integrations.baseline_names import key_of

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

MODEL = """
import sppkit

def build():
    return sppkit.build_model({arch!r}, stages=(1, 2), width=0.125{more})
"""
TESTS = """
from model import build

def test_policy(assert_spp):
    assert_spp(build, shape=(3, 32, 32), policy="nf-resnet")

def test_baseline(assert_spp):
    verdict = assert_spp(build, shape=(3, 32, 32), baseline=True)
    assert verdict.places["blocks.0"][0].endswith("block.py")

def test_given_model(assert_spp):
    assert_spp(build(), shape=(3, 32, 32), baseline=False)
"""


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(pytester.path))
    pytester.makeini("[pytest]\n")
    write_model(pytester.path)
    (pytester.path / "test_it.py").write_text(TESTS, encoding="utf-8")
    return pytester.path


def write_model(folder: Path, arch: str = "nf-resnet", more: str = "") -> None:
    (folder / "model.py").write_text(MODEL.format(arch=arch, more=more), encoding="utf-8")


def run(pytester: pytest.Pytester, *arguments: str) -> tuple[int, str]:
    sys.modules.pop("model", None)
    done = pytester.runpytest_inprocess(
        "-q", "-p", "sppkit.integrations.pytest_plugin", "-p", "no:cacheprovider", *arguments
    )
    return done.ret, done.stdout.str()


@pytest.fixture(autouse=True)
def _no_stale_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def test_from_no_baseline_to_green_to_red(folder: Path, pytester: pytest.Pytester) -> None:
    code, out = run(pytester)
    assert code == 1
    assert "1 failed, 2 passed" in out
    assert "To accept what is measured now: pytest --spp-bless" in out
    assert run(pytester, "--spp-bless")[0] == 0
    assert sorted(path.name for path in (folder / ".sppkit/baselines").iterdir()) == [
        "test_it--test_baseline.json",
        "test_it--test_policy.json",
    ]
    assert run(pytester)[0] == 0
    write_model(folder, more=", weights='none'")
    code, out = run(pytester)
    assert code == 1
    assert "FAIL PreActivationResNet: 4 of 4 blocks fail, the first is block 0 (stem)" in out
    assert "the input or the stem changed" in out
    assert "weights: stem.weight is 1.41 times the baseline's" in out
    assert "If the change is meant: pytest --spp-bless" in out


TWICE = """
from model import build

def test_signal(assert_spp):
    assert_spp(build, shape=(3, 32, 32), seeds=1, policy="any", baseline=True)
    assert_spp(build, shape=(3, 16, 16), seeds=1, policy="any", baseline=True)
"""


def test_no_two_asserts_share_a_baseline(folder: Path, pytester: pytest.Pytester) -> None:
    (folder / "test_it.py").unlink()
    for name in ("a", "b"):
        (folder / f"test_{name}.py").write_text(TWICE, encoding="utf-8")
    baselines = folder / ".sppkit/baselines"
    baselines.mkdir(parents=True)
    (baselines / "test_signal.json").write_text("of the one or the other", encoding="utf-8")
    code, out = run(pytester)
    assert code == 1
    assert "there is no baseline" in out  # the file of old could be either's
    assert run(pytester, "--spp-bless")[0] == 0
    files = sorted(path.name for path in baselines.glob("test_*--*.json"))
    assert files == [f"test_{name}--test_signal{call}.json" for name in ("a", "b") for call in ("--2", "")]
    assert [json.loads((baselines / file).read_text())["run"]["input"]["batch_shape"][-1] for file in files] == [
        16,
        32,
    ] * 2
    assert run(pytester)[0] == 0


def test_a_baseline_of_the_old_name_is_read_where_it_is_one_test_s(folder: Path, pytester: pytest.Pytester) -> None:
    assert run(pytester, "--spp-bless", "-k", "test_policy")[0] == 0
    baselines = folder / ".sppkit/baselines"
    (baselines / "test_it--test_policy.json").rename(baselines / "test_policy.json")
    write_model(folder, more=", alpha=0.5")
    code, out = run(pytester, "-k", "test_policy")
    assert code == 1
    assert "baseline test_it--test_policy" in out


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("test_a.py::test_x", "test_b.py::test_x"),
        ("a/test_x.py::test_x", "a.test_x.py::test_x"),
        ("a-b/test_x.py::test_x", "a/b/test_x.py::test_x"),
        ("test_x.py::test_x[a b]", "test_x.py::test_x[a-b]"),
        ("test_x.py::test_x[a/b]", "test_x.py::test_x[a b]"),
        ("test_x.py::test_x[\xfc]", "test_x.py::test_x[\xf6]"),
        ("test_x.py::test_x[" + "a" * 300 + "]", "test_x.py::test_x[" + "a" * 301 + "]"),
        ("test_x.py::A::test_x", "test_x.py::test_x"),
    ],
)
def test_names_of_baselines_are_file_names_and_differ(one: str, other: str) -> None:
    keys = {key_of(test, call) for test in (one, other) for call in (1, 2)}
    assert len(keys) == 4
    assert all(re.fullmatch(r"[\w.-]{1,200}", key, re.ASCII) for key in keys)


def test_blessing_is_refused_under_ci(folder: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    _, out = run(pytester, "--spp-bless", "-k", "test_baseline")
    assert "CI is set here" in out
    assert not (folder / ".sppkit").exists()


def test_the_plugin_imports_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "numpy", "typer")
    probe = f"import sys, sppkit.integrations.pytest_plugin; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_verdict_is_that_of_check() -> None:
    def build() -> nn.Module:
        layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
        for layer in layers[::2]:
            # Units that start equal stay equal: no forward curve shows it.
            nn.init.constant_(layer.weight, 0.05)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(*layers)

    with pytest.raises(AssertionError, match="equal-units"):
        plugin.assert_spp(build, shape=(64,), seeds=1)
