"""What a user should know of the gradients in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.registry import GRADIENT_STATISTICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

_COLUMN = "gradient_second_moment"


def iter_gradient_notices(table: pd.DataFrame, reason: str | None, dtype: torch.dtype) -> Iterator[str]:
    """Yield what the cells alone do not say: why they are empty, where nothing comes back, and what underflows."""
    asked = [name for name in GRADIENT_STATISTICS if name in table]
    if asked and reason is not None:
        yield f"{', '.join(asked)}: {'empty' if table[asked].isna().all(axis=None) else 'incomplete'}, because {reason}"
    if _COLUMN not in table:
        return
    silent = table[table[_COLUMN] == 0]
    if len(silent):
        yield (
            f"the gradient is 0 at {len(silent)} of {len(table)} rows, the last of them {silent['name'].iloc[-1]!r}: "
            "nothing comes back to them from the last row."
        )
    smallest = torch.finfo(dtype).smallest_normal
    # Below the smallest normal number digits are lost, and then the numbers themselves.
    faint = table[(table[_COLUMN] > 0) & (table[_COLUMN] < smallest**2)]
    if len(faint):
        yield (
            f"the gradient underflows in {str(dtype).removeprefix('torch.')} at {len(faint)} of {len(table)} rows: it "
            f"is below {smallest:.2g}; a type with more range, such as bfloat16 or float32, shows it as it is."
        )
