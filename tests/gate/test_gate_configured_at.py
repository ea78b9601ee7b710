"""The line of the configuration that asks for a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from sppkit.gate.configured_at import configured_at
from sppkit.gate.jobs import load_jobs

SEVERAL = """# comment with [[run]] in it
width = 0.125
stages = [1, 1]

[[run]]
seeds = 1
arch = "nf-resnet"
name = "a"

[[ "run" ]]   # spaced
name = "b"
"arch" = "nf-resnet"

[[run]]
# arch = "no"
arch="nf-resnet"
name = "c"
[run.policy]
growth = { level = "off" }
"""
PYPROJECT = """[project]
name = "x"
[tool.sppkit]
depth = 26
arch = "nf-resnet"
[tool.other]
arch = "y"
"""


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("sppkit.toml", 'depth = 50\narch = "nf-resnet"\n', [2]),
        ("sppkit.toml", 'arch = "nf-resnet"\n', [1]),
        ("pyproject.toml", PYPROJECT, [5]),
        ("pyproject.toml", PYPROJECT + '[[tool.sppkit.run]]\nname = "a"\n[[tool.sppkit.run]]\nmodel = "m"\n', [5, 11]),
        ("pyproject.toml", '[tool]\nsppkit = {arch = "nf-resnet"}\n', [1]),
        ("other.toml", SEVERAL, [7, 10, 16]),
    ],
)
def test_the_line_that_names_the_network(name: str, text: str, lines: list[int], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [configured_at(tmp_path / name, index)[1] for index in range(len(lines))] == lines


def test_each_job_knows_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sppkit.toml").write_text(SEVERAL, encoding="utf-8")
    assert [job.configured for job in load_jobs({}, None)] == [("sppkit.toml", line) for line in (7, 10, 16)]
    assert [job.configured for job in load_jobs({"arch": "nf-resnet", "depth": 50}, None)] == [None]
