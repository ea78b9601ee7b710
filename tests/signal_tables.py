"""Tables of given values, for tests of what is said about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.record.table import STATISTIC_COLUMNS, build_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    Stages = Sequence[Sequence[float]]

NF: dict[str, Any] = {
    "norm": "none", "norm_first": True, "scaled": True, "weights": "scaled-ws", "activation": "relu",
    "padding": "zeros", "alpha": 1.0, "skip_gain": 1.0,
}  # fmt: skip
BN: dict[str, Any] = {
    "norm": "bn", "norm_first": True, "scaled": False, "weights": "none", "activation": "relu", "padding": "zeros",
}  # fmt: skip
HE = BN | {"norm": "none"}


def record(network: dict[str, Any], expected: Any = None, **further: Any) -> dict[str, Any]:
    return {"network": network, "expected": {"residual_variance": expected}, "mode": "train"} | further


def table(
    variance: Stages | None = ((1, 2), (1, 2)),
    mean: float | Stages | None = 0.01,
    residual: Stages | float | None = 0.6,
    *,
    stem: float | None = 0.36,
    size: int = 7,
    lost: int = 10**9,
    seed: int = 0,
    **further: Any,
) -> pd.DataFrame:
    """A table of the given values, one per block; ``mean``, ``residual`` and ``further`` may be one for all blocks."""
    shape = variance if variance is not None else residual
    rows: list[dict[str, Any]] = [{"stage": 0, "values": (2.2 if mean is not None else None, stem, None)}]
    for stage, blocks in enumerate(shape, 1):
        for k in range(len(blocks)):
            values = (at(given, stage, k) for given in (mean, variance, residual))
            more = {name: at(given, stage, k) for name, given in further.items()}
            rows.append({"stage": stage, "values": tuple(values), **more})
    return build_table(
        {"seed": seed, "block": block, "name": f"b{block}", "channels": 64, "height": size,
         "width": size, "nonfinite": 5 if block >= lost else 0,
         **dict(zip(STATISTIC_COLUMNS, row.pop("values"), strict=True)), **row}
        for block, row in enumerate(rows)
    )  # fmt: skip


def at(given: Any, stage: int, k: int) -> float | None:
    return given[stage - 1][k] if isinstance(given, (tuple, list)) else given
