"""A sweep's file: its cells, their names, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sppkit.comparison.sweep.grid import Grid, read_grid
from sppkit.errors import UsageError

BASE = 'arch = "nf-resnet"\nwidth = 0.125\n'
AXES = '[axes]\nstages = [[1], [1, 1]]\nactivation = ["relu", "silu"]\n'


def grid(tmp_path: Path, text: str) -> Grid:
    file = tmp_path / "grid.toml"
    file.write_text(text, encoding="utf-8")
    return read_grid(file)


def test_the_last_axis_varies_fastest_and_exclusions_are_left_out(tmp_path: Path) -> None:
    found = grid(tmp_path, BASE + AXES + '[[exclude]]\nstages = [1, 1]\nactivation = "relu"\n')
    assert [cell.label for cell in found.cells] == [
        "stages=1, activation=relu",
        "stages=1, activation=silu",
        "stages=1,1, activation=silu",
    ]
    assert found.cells[2].resolved.config.stages == (1, 1)


def test_a_name_depends_on_what_decides_the_numbers_alone(tmp_path: Path) -> None:
    def names(text: str) -> set[str]:
        return {cell.digest for cell in grid(tmp_path, text).cells}

    known = names(BASE + AXES)
    assert len(known) == 4
    assert names('out = "elsewhere"\nwidth = 0.125\narch = "nf-resnet"\nformat = ["svg"]\n' + AXES) == known
    swapped = '[axes]\nactivation = ["silu", "relu"]\nstages = [[1, 1], [1]]\n'
    assert names(BASE + swapped) == known
    assert not names(BASE + "batch-size = 4\n" + AXES) & known


def test_a_name_follows_the_content_of_the_users_file(tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    text = f'model = "{net}:build"\n[axes]\nkw.depth = [1, 2]\n'
    net.write_text("a", encoding="utf-8")
    one = grid(tmp_path, text)
    assert [cell.resolved.config.kw for cell in one.cells] == [{"depth": 1}, {"depth": 2}]
    net.write_text("bb", encoding="utf-8")
    assert not {c.digest for c in one.cells} & {c.digest for c in grid(tmp_path, text).cells}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE, "a sweep needs axes"),
        (BASE + "[axes]\ndepht = [1]\n", "unknown option 'depht'; did you mean 'depth'"),
        ("widht = 1\n" + AXES, "unknown option 'widht'"),
        (BASE + "[axes]\ndepth = []\n", "the axis depth is empty"),
        (BASE + "[axes]\ndepth = 50\n", "the axis depth must be a list of values, not 50"),
        (BASE + "[axes]\ndepth = [50, 50]\n", "the axis depth has 50 twice"),
        (BASE + "[axes]\nout = ['a']\n", "out is no axis"),
        (BASE + "[axes]\nwidth = [1, 2]\n", "width is given as an option and as an axis"),
        (BASE + AXES + "[[exclude]]\ndepth = 5\n", "exclude names depth, which is no axis"),
        (BASE + AXES + "[[exclude]]\nactivation = 'gelu'\n", "which the axis does not have. It has: relu, silu"),
        (BASE + AXES + "[[exclude]]\nactivation='relu'\n[[exclude]]\nactivation='silu'\n", "every cell is excluded"),
        (BASE + "stages = [1]\n[axes]\nmodel = ['timm:a']\n", "1 of 1 cells can't be measured; nothing was"),
        (BASE + "name = 'a'\n" + AXES, "name means nothing in a sweep"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        grid(tmp_path, text)
    assert said in str(caught.value)
