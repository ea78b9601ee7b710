"""What every test shares: a desk, the same seed, one thread in each of several processes, where the suite runs."""

from __future__ import annotations

import os

import pytest

# Set before torch is imported, and handed on to what a test starts: two processes on two cores have one thread each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # pytest-xdist sets it to 80 in its workers, and tables would fold.
    os.environ.pop("COLUMNS", None)

import torch

# What a service sets would change what a test sees: `sppkit bless` refuses there, and `sppkit check` writes a summary.
for name in ("CI", "GITHUB_STEP_SUMMARY"):
    os.environ.pop(name, None)

# A process needs half a gigabyte, and two to three seconds before its first test.
MOST_PROCESSES = 8


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the plain command's work among the cores; files that are named and marks stay in one process."""
    option = config.option
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # a worker runs this hook, too, and would start workers of its own, and they theirs
    is_plain = config.args_source is pytest.Config.ArgsSource.TESTPATHS and option.markexpr == "not slow"
    if is_plain and getattr(option, "numprocesses", 0) is None and not option.usepdb and not option.collectonly:
        option.numprocesses, option.dist = min(os.cpu_count() or 1, MOST_PROCESSES), "worksteal"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
