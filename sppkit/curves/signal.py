"""The table as the gate reads it: one array of (seeds, blocks) per statistic, and what is known of the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from sppkit.config.options import RunConfig
from sppkit.curves.seed_spread import log_spread
from sppkit.record.read import counts_at, mapping_at, number_at, text_at
from sppkit.record.table import COLUMNS, STATISTIC_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

PREDICTED = "predicted_"
# A table without a size: as wide as makes no difference.
_WIDE = 2048.0


@dataclass(frozen=True)
class Signal:
    """What was measured, seed by seed and block by block, and the record of how.

    Arrays of blocks have shape (B,), values have shape (S, B), blocks in the order of the table.
    """

    table: pd.DataFrame
    record: Mapping[str, Any]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row per block: its place, name and size."""
        places = ["block", "stage", "name", "channels", "height", "width"]
        return self.table.drop_duplicates("block")[places].reset_index(drop=True)

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the table."""
        return [int(seed) for seed in self.table["seed"].unique()]

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """Block numbers."""
        return self.rows["block"].to_numpy(dtype=np.int64)

    @cached_property
    def stages(self) -> NDArray[np.int64]:
        """Stage numbers; 0 where a model has none."""
        return self.rows["stage"].fillna(0).to_numpy(dtype=np.int64)

    @cached_property
    def names(self) -> list[str]:
        """Block names."""
        return [str(name) for name in self.rows["name"]]

    @cached_property
    def statistics(self) -> list[str]:
        """The measured columns: the three statistics, and further ones that are no predictions and never negative."""
        further = [name for name in self.table.columns if name not in COLUMNS and not name.startswith(PREDICTED)]
        found = [name for name in (*STATISTIC_COLUMNS, *further) if is_numeric_dtype(self.table[name])]
        return [name for name in found if self.table[name].notna().any() and not (self.table[name] < 0).any()]

    def values(self, column: str) -> Array:
        """Return a column.

        Args:
            column: Its name.

        Returns:
            Shape (S, B); nan where it is absent.
        """
        if column not in self._columns:
            found = np.full((len(self.seeds), len(self.blocks)), np.nan)
            if column in self.table.columns:
                found[self._places] = self.table[column].to_numpy(dtype=float, na_value=np.nan)
            self._columns[column] = found
        return self._columns[column]

    @cached_property
    def _columns(self) -> dict[str, Array]:
        return {}

    @cached_property
    def _places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        # Blocks are numbered as ``rows`` has them: in the order of their first appearance, too.
        return pd.factorize(self.table["seed"])[0], pd.factorize(self.table["block"])[0]

    @cached_property
    def nonfinite(self) -> Array:
        """Counts of values that are not finite, shape (S, B)."""
        return np.nan_to_num(self.values("nonfinite"))

    @cached_property
    def channels(self) -> Array:
        """C of every block."""
        return np.maximum(self._size("channels", _WIDE), 1)

    @cached_property
    def per_channel(self) -> Array:
        """n: how many values a channel has, batch times space."""
        space: Array = np.maximum(self._size("height", 1.0) * self._size("width", 1.0), 1)
        return space * self.samples

    @cached_property
    def samples(self) -> float:
        """How many samples there were; the default batch where nobody knows."""
        described = mapping_at(self.record, "input")
        shape = counts_at(described, "batch_shape") or [RunConfig.batch_size]
        return max(1.0, shape[0] * max(1.0, number_at(described, "batches") or 1.0))

    @cached_property
    def network(self) -> Mapping[str, Any]:
        """The record's description of the network; empty where there is none."""
        return mapping_at(self.record, "network")

    @cached_property
    def joined(self) -> bool:
        """Whether the rows are blocks of a residual network; leaf modules, where there are no joins, have no stages."""
        return not self.rows["stage"].isna().all() or bool(np.isfinite(self.values("residual_variance")).any())

    @cached_property
    def heads(self) -> NDArray[np.bool_]:
        """Which rows are the head of a network without joins, whose scale no bound knows.

        Its last module has the task's scale: probabilities of a thousand classes. What is behind a global pool has lost
        most of its variance, which is that of an average over noise.
        """
        if self.joined:
            return np.zeros(len(self.blocks), dtype=bool)
        space = self._size("height", 1.0) * self._size("width", 1.0)
        pooled: NDArray[np.bool_] = (space <= 1) & (np.maximum.accumulate(space) > 1)
        pooled[max(1, len(space) - 1) :] = True
        return pooled

    @cached_property
    def normalized(self) -> bool:
        """Whether it is known that normalizers give every block a scale of its own."""
        return text_at(self.network, "norm", "none") != "none"

    @cached_property
    def taps(self) -> Array:
        """Share of a 3x3 convolution's taps that zero padding leaves on a block's map: (1 - 2/(3 size))².

        With stride 2 only one of two borders is reached: (1 - 1/(3 size))².
        """
        lost = np.where((self.stages > 1) & (np.diff(self.stages, prepend=0) != 0), 1 / 3, 2 / 3)
        kept: Array = (1 - lost / self._size("height", np.inf)) * (1 - lost / self._size("width", np.inf))
        return np.ones_like(kept) if text_at(self.network, "padding", "zeros") == "circular" else kept

    @cached_property
    def branch_scale(self) -> float | None:
        """What the branch is multiplied by before the addition: alpha times skip gain; None where it is unknown."""
        alpha, skip_gain = number_at(self.network, "alpha"), number_at(self.network, "skip_gain")
        if alpha is None or skip_gain is None or number_at(self.network, "stochastic_depth"):
            return None
        return alpha * skip_gain

    def spread(self, statistic: str) -> Array:
        """Return the published spread of a statistic's logarithm.

        Args:
            statistic: Its name.

        Returns:
            Shape (B,).
        """
        return log_spread(statistic, self.channels, self.per_channel, normalized=self.normalized)

    def _size(self, column: str, absent: float) -> Array:
        return np.asarray(self.rows[column].astype("float64").fillna(absent), dtype=np.float64)
