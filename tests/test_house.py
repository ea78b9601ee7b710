"""The house rules that a linter cannot see: what is imported when, how large things grow, and what the map shows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sppkit

HEAVY = ("torch", "pandas", "matplotlib", "PIL", "safetensors", "numpy", "sympy")


def imported_by(code: str) -> set[str]:
    probe = f"{code}\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def invoke(*arguments: str) -> str:
    return (
        f"import sys; sys.argv = ['sppkit', *{list(arguments)}]\n"
        "from sppkit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["plot", "--help"], ["--version"], ["list"]], ids=" ".join)
def test_help_and_list_import_nothing_heavy(arguments: list[str]) -> None:
    assert imported_by(invoke(*arguments)) == set()


def test_help_does_not_read_what_is_installed() -> None:
    code = invoke("--help") + "\nprint('importlib.metadata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_a_refused_option_imports_no_torch() -> None:
    assert "torch" not in imported_by(invoke("plot", "--arch", "nf-resnt", "--depth", "50"))


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert imported_by("import sppkit") == set()


def test_the_probe_of_imports_sees_them() -> None:
    assert imported_by("import sppkit; sppkit.build_model") >= {"torch", "numpy"}


def test_building_imports_no_sympy() -> None:
    # Torch's to_empty does, on the meta device: a third of a second.
    built = "sppkit.build_model('bn-relu-conv', stages=(1,), width=0.1, se=True)"
    assert imported_by(f"import sppkit; {built}") == {"torch", "numpy"}


def test_plotting_and_reading_need_no_torch() -> None:
    assert "torch" not in imported_by("import sppkit; sppkit.plot_spp, sppkit.read_csv, sppkit.write_csv")


@pytest.mark.parametrize("name", sppkit.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(sppkit, name).__doc__


def test_public_names_survive_the_import_of_submodules() -> None:
    import sppkit.measuring.measure

    assert callable(sppkit.measure)


def test_unknown_public_name() -> None:
    with pytest.raises(AttributeError, match="module 'sppkit' has no attribute 'mesure'"):
        sppkit.mesure  # noqa: B018


ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sppkit"
CONTRACTS = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
}
# A kernel is one function: Triton inlines nothing but what is compiled with it.
KERNELS = {"stats/triton_moments.py:moments_kernel": 51}


def entries() -> set[str]:
    return {entry.stem for entry in PACKAGE.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()}


def picture() -> list[tuple[str, str]]:
    """The rooms of each line of the map, and those of its last column."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(drawn) == 1
    lines = drawn[0].splitlines()
    column = lines[0].index("without torch")
    return [(line[: line.index("  ")], line[column:].strip()) for line in lines[2:]]


def test_the_map_shows_the_layers_of_the_contract_and_the_rooms_on_disk() -> None:
    layers = CONTRACTS["data flows one way"]["layers"]
    assert ["__main__", *[rooms for rooms, _ in picture()]] == layers
    assert {room for layer in layers for room in layer.split(" | ")} == entries() - {"__init__"}


def test_the_map_is_one_screen_and_shows_what_needs_no_torch() -> None:
    assert len((ROOT / "docs/architecture.md").read_text(encoding="utf-8").splitlines()) <= 60
    rooms = {room for _, free in picture() for room in free.split(", ") if room}
    free = CONTRACTS["reading a table needs no torch"]["source_modules"]
    # Of the machine, only its files.
    assert rooms == {name.split(".")[1] for name in free if name.count(".") == 1} | {"theory"}


def test_what_the_map_names_is_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+(?:\w+\.py)?|\w+\.py)`", page)
    assert len(named) > 20
    assert [name for name in named if not ((PACKAGE / name).exists() or (ROOT / name).exists())] == []


def test_the_top_of_the_package_is_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12
    assert len(entries()) <= 24


def test_tests_lie_as_the_package_does() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - {"benchmarks"} <= entries()
    # What is of no room, or of a module of its own.
    assert {path.stem for path in (ROOT / "tests").glob("test_*.py")} == {"test_docs", "test_house", "test_streams"}


def bodies(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function and the lines of its body, without its docstring."""
    for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            body: list[Any] = item.body[1:] if ast.get_docstring(item, clean=False) is not None else item.body
            yield item.name, body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_a_module_has_at_most_350_lines() -> None:
    lines = {
        str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8").count("\n") for path in PACKAGE.rglob("*.py")
    }
    assert {name: count for name, count in lines.items() if count > 350} == {}


def test_a_function_has_at_most_40_lines() -> None:
    lines = {
        f"{path.relative_to(PACKAGE)}:{name}": count for path in PACKAGE.rglob("*.py") for name, count in bodies(path)
    }
    assert {name: count for name, count in lines.items() if count > KERNELS.get(name, 40)} == {}
    assert [name for name in KERNELS if lines.get(name, 0) <= 40] == [], "take it off the list"
