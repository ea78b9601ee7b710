"""What README and docs tell a user to type is typed here, in order, page by page, in an empty folder."""

from __future__ import annotations

import itertools
import operator
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from desk import desk
from sppkit.comparison.lineup import Member, line_up
from sppkit.comparison.sweep.grid import read_grid
from sppkit.config.resolve import load_toml, resolve_config
from sppkit.models.spec import build_spec

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def is_set_up(code: str) -> bool:
    # .ci/run types the README's two set-up commands, each in a fresh virtual environment.
    return code.startswith("python3 -m venv")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a ``sppkit`` that runs without the seconds of its imports."""
    with desk(tmp_path_factory.mktemp("desk")) as folder:
        yield folder


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_page_work(page: Path, tmp_path: Path, tools: Path) -> None:
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1"}
    shown = [(language, code) for language, code in blocks(page) if not is_set_up(code)]
    program = ""
    for language, group in itertools.groupby(shown, key=operator.itemgetter(0)):
        assert language in {"sh", "python"}, f"a block of {page.name} is not executed: {language}"
        code = "".join(text for _, text in group)
        if language == "python":
            # The blocks of a page are one program; each run repeats those before it.
            program += code
        argv = ["sh", "-euc", code] if language == "sh" else [str(tools / "sppkit"), "-c", program]
        done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def test_readme_names_files_that_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 5
    assert not [link for link in links if not (ROOT / link).exists()]


def test_readme_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 70


def test_readme_has_the_two_set_up_commands() -> None:
    commands = [code for _, code in blocks(ROOT / "README.md") if is_set_up(code)]
    assert [shlex.split(command)[-1] for command in commands] == ["600", ".venv/bin/pytest"]
    assert all(command.count("\n") == 1 for command in commands)


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.toml")), ids=lambda file: file.stem)
def test_ready_made_configurations_are_valid(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")
    if "axes" in load_toml(file):  # for sppkit sweep, which checks each cell
        assert read_grid(file).cells
        return
    # A file of several networks is for sppkit compare.
    members = (
        line_up([], {}, file).members if "specs" in load_toml(file) else [Member("", "", resolve_config({}, file))]
    )
    for resolved in (member.resolved for member in members):
        assert resolved is not None
        assert sum(build_spec(resolved.config.arch, resolved.given()).stages) > 0


def test_command_reference_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/generate_cli.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
