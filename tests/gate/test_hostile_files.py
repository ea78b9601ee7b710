"""Nothing that a file or a model holds commands the terminal, whichever field it is in."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app
from sppkit.record.table import build_table, read_csv, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = "a\x1b[2J\x9b1m\u202e\nPASS fake"
ROWS = [
    {"seed": seed, "block": block, "stage": min(block, 1), "name": f"b{block}", "channels": 8, "height": 4, "width": 4,
     "channel_squared_mean": 0.1, "channel_variance": 1.0, "residual_variance": 0.5 if block else None, "nonfinite": 0}
    for seed in (0, 1) for block in range(3)
]  # fmt: skip
RECORD = {
    "schema": 1, "arch": "nf-resnet", "mode": "train", "dtype": "float32", "device": "cpu", "seeds": [0, 1],
    "random_stream": "pcg64", "versions": {"torch": "2", "sppkit": "0.1.0"}, "found": "joins",
    "input": {"kind": "gaussian", "batch_shape": [8, 3, 32, 32], "batches": 1},
    "network": {"stages": [1, 1], "block": "pre", "padding": "zeros", "alpha": "0.2", "layout": "x"},
    "options": {"arch": {"value": "nf-resnet", "source": "flag"}, "kw": {"value": {"a": "b"}, "source": "flag"},
                "checkpoint": {"value": "f", "source": "flag"}, "model": {"value": "net.py:build", "source": "flag"}},
    "model": {"spec": "net.py:build", "library": "timm", "kw": {"a": "b"}, "parameters": 3, "input_from": "--shape"},
    "checkpoint": {"path": "file.pt", "sha256": "abc", "format": "safetensors"}, "sources": {"b1": ["net.py", 3]},
    "threads": 2, "warmup": "no",
}  # fmt: skip


def iter_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, str):
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from iter_paths(item, (*path, key))


def changed(path: tuple[Any, ...]) -> dict[str, Any]:
    record = deepcopy(RECORD)
    holder: Any = record
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = HOSTILE
    return record


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code in {0, 1, 2, 3}
    assert "unexpected" not in result.stderr
    return str(result.stdout + result.stderr)


def assert_harmless(told: str) -> None:
    assert told
    assert all(letter.isprintable() or letter == "\n" for letter in told), repr(told)
    assert not [line for line in told.splitlines() if line.startswith("PASS fake")], told


@pytest.fixture(autouse=True)
def _saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_csv(build_table(ROWS), f"{name}.csv")
        Path(f"{name}.json").write_text(json.dumps(RECORD), encoding="utf-8")


def write(record: dict[str, Any]) -> None:
    Path("one.json").write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize("path", [*iter_paths(RECORD)], ids=lambda path: ".".join(map(str, path)))
def test_no_text_of_a_record_commands(path: tuple[Any, ...]) -> None:
    run("bless", "two.csv", "--reason", "x", "--baseline", "two-base.json")
    write(changed(path))
    assert_harmless(run("check", "one.csv", "--baseline", "two-base.json", "--policy", "any"))
    assert_harmless(run("diff", "one.csv", "two.csv"))
    if path[0] in {"model", "network", "found"}:  # what titles and sentences are made of
        assert_harmless(run("plot", "one.csv", "--format", "svg", "--out", "spp"))
    base = json.loads(Path("two-base.json").read_text(encoding="utf-8"))
    kept = changed(path)
    base["run"] = {name: kept[name] for name in base["run"]}
    Path("base.json").write_text(json.dumps(base), encoding="utf-8")
    assert_harmless(run("check", "two.csv", "--baseline", "base.json", "--policy", "any"))


def test_no_key_of_a_record_commands() -> None:
    write({**RECORD, HOSTILE: 1, "options": {**RECORD["options"], HOSTILE: {"value": 1, "source": "x"}}})
    assert_harmless(run("check", "one.csv"))
    assert_harmless(run("diff", "two.csv", "one.csv"))


@pytest.mark.parametrize("text", [
    f"{json.dumps(HOSTILE)} = 1", f"arch = {json.dumps(HOSTILE)}", f"arch = 'nf-resnet'\nname = {json.dumps(HOSTILE)}",
    f"arch = 'nf-resnet'\npolicy = {json.dumps(HOSTILE)}", f"run = {json.dumps(HOSTILE)}", "x = \x1b[2J", "[\x1b[2J]",
])  # fmt: skip
def test_no_text_of_a_configuration_commands(text: str) -> None:
    Path("sppkit.toml").write_text(text, encoding="utf-8")
    assert_harmless(run("check"))


def test_no_name_in_a_table_commands() -> None:
    text = Path("one.csv").read_text(encoding="utf-8")
    Path("one.csv").write_text(text.replace("b1", f'"{HOSTILE}"'), encoding="utf-8")
    assert_harmless(run("check", "one.csv"))
    Path("one.csv").write_text(text.replace("residual_variance", f'residual_variance,"{HOSTILE}"', 1), encoding="utf-8")
    assert_harmless(run("check", "one.csv"))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x)


def test_a_module_of_any_name_gives_a_table_that_can_be_read(tmp_path: Path) -> None:
    network = nn.Sequential()
    network.add_module("a\x1b[2J\n", Block())
    network.add_module("a\u202e", Block())
    table = sppkit.measure(network, torch.randn(2, 4, 4, 4))
    assert {"a\\x1b[2J\\n", "a\\u202e"} <= set(table["name"])
    write_csv(table, tmp_path / "run.csv")
    assert list(read_csv(tmp_path / "run.csv")["name"]) == list(table["name"])


def test_a_reason_is_read_as_it_was_typed_whatever_the_locale() -> None:
    # As Python gives the bytes of an argument where the locale knows ASCII only.
    assert "wrote base.json" in run("bless", "one.csv", "--reason", "gr\udcc3\udcbcn", "--baseline", "base.json")
    assert json.loads(Path("base.json").read_text(encoding="utf-8"))["accepted"]["reason"] == "grün"
    for reason in ("gr\udcfcn", "a\x1b[2J"):
        told = run("bless", "one.csv", "--reason", reason, "--baseline", "other.json")
        assert "error: --reason must be a text without control characters, not " in told
    assert not Path("other.json").exists()


@pytest.mark.parametrize("value", [1e308, 5e-324, 0.0])
@pytest.mark.parametrize("policy", ["any", "nf-resnet"])
def test_legal_numbers_at_the_ends_of_the_range_are_judged_in_silence(value: float, policy: str) -> None:
    names = ("channel_squared_mean", "channel_variance", "residual_variance")
    write_csv(build_table({**row, **dict.fromkeys(names, value)} for row in ROWS), "one.csv")
    told = CliRunner().invoke(app, ["check", "one.csv", "--policy", policy])  # warnings are errors in tests
    assert told.stderr == ""
    assert (told.exit_code, told.stdout[:8]) == (1, "FAIL one")
