"""The arrays that theory computes with, by what they hold; for type checkers."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]
ShortIndices: TypeAlias = NDArray[np.int32]
