"""What every test shares: the same seed, and no more threads than CI has cores."""

from __future__ import annotations

import os

import pytest
import torch

# pytest-xdist sets it to 80 in its workers, and tables would fold.
os.environ.pop("COLUMNS", None)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
