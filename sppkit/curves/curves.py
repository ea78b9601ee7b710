"""A table read once: one array of (seeds, blocks) per statistic, their seed means, and what is known of the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from sppkit.curves.network import NetworkFacts, read_network
from sppkit.curves.output import Output, read_output
from sppkit.curves.seed_spread import log_spread
from sppkit.record.read import mapping_at, text_at
from sppkit.record.table import COLUMNS, PASSES, STATISTIC_COLUMNS
from sppkit.registry import GRADIENT_STATISTICS, HEALTH_STATISTICS

if TYPE_CHECKING:
    from collections.abc import Mapping

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

PREDICTED = "predicted_"
# A table without a size: as wide as makes no difference.
_WIDE = 2048.0


@dataclass(frozen=True)
class Curves:
    """What was measured, seed by seed and block by block, and the record of how.

    S seeds, B rows (blocks, the stem among them, or layers), both in the order of the table. Rules look at the J rows
    of ``judged``: their arrays hold seed means.
    """

    table: pd.DataFrame
    record: Mapping[str, Any]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row per block: its number, name and size."""
        columns = ["block", "stage", "name", "channels", "height", "width"]
        return self.table.drop_duplicates("block")[columns].reset_index(drop=True)

    @cached_property
    def network(self) -> NetworkFacts:
        """What the record says of the network."""
        return read_network(self.record, int((self.blocks > 0).sum()))

    @cached_property
    def output(self) -> Output | None:
        """What the network returned, if that is known."""
        return read_output(self.record, self.table)

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the table."""
        return [int(seed) for seed in self.table["seed"].unique()]

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """Block numbers, shape (B,)."""
        return self.rows["block"].to_numpy(dtype=np.int64)

    @cached_property
    def stages(self) -> NDArray[np.int64]:
        """Stage numbers, shape (B,); 0 where a model has none."""
        return self.rows["stage"].fillna(0).to_numpy(dtype=np.int64)

    @cached_property
    def names(self) -> list[str]:
        """Block names."""
        return [str(name) for name in self.rows["name"]]

    @cached_property
    def statistics(self) -> list[str]:
        """The measured columns of the forward pass that are never negative: the three statistics, and further ones.

        A gradient tells of what comes after a block, and is judged apart (``gate.backward``): were it held against a
        baseline block by block, a fault would be found in front of where it is.
        """
        others = {*COLUMNS, *GRADIENT_STATISTICS, PASSES}
        further = [name for name in self.table.columns if name not in others and not name.startswith(PREDICTED)]
        found = [name for name in (*STATISTIC_COLUMNS, *further) if is_numeric_dtype(self.table[name])]
        return [name for name in found if self.table[name].notna().any() and not (self.table[name] < 0).any()]

    @cached_property
    def gradients(self) -> list[str]:
        """The measured columns of the backward pass."""
        return [name for name in GRADIENT_STATISTICS if name in self.table and self.table[name].notna().any()]

    @property
    def compared(self) -> list[str]:
        """Those that are held against another run: not what only the verdict on a network without one took."""
        source = text_at(mapping_at(mapping_at(self.record, "options"), "stats"), "source", "flag")
        unasked = HEALTH_STATISTICS if source == "default" else ()
        return [name for name in self.statistics if name not in unasked]

    def values(self, column: str) -> Array:
        """Return a column, shape (S, B)."""
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

    def seed_mean(self, column: str) -> Array:
        """Return a column's arithmetic mean over seeds, as on a linear axis, shape (B,)."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean: Array = self.values(column).mean(axis=0)
        return mean

    @cached_property
    def averaged(self) -> Curves:
        """The curves of the seed means, as one seed: predictions too; ``nonfinite`` is the sum over seeds."""
        columns = [*self.statistics, *(name for name in self.table.columns if str(name).startswith(PREDICTED))]
        means = {name: self.seed_mean(name) for name in dict.fromkeys([*STATISTIC_COLUMNS, *columns])}
        lost = self.nonfinite.sum(axis=0)
        return Curves(self.rows.assign(seed=self.seeds[0] if self.seeds else 0, nonfinite=lost, **means), self.record)

    @cached_property
    def nonfinite(self) -> Array:
        """Counts of values that are not finite, shape (S, B)."""
        return np.nan_to_num(self.values("nonfinite"))

    @cached_property
    def channels(self) -> Array:
        """C of every block."""
        return np.maximum(self._size("channels", _WIDE), 1)

    @cached_property
    def positions(self) -> Array:
        """Height times width of every block; 1 where it has none."""
        space: Array = np.maximum(self._size("height", 1.0), 1.0) * np.maximum(self._size("width", 1.0), 1.0)
        return space

    @cached_property
    def per_channel(self) -> Array:
        """n: how many values a channel has, samples times positions."""
        return self.positions * self.network.samples

    @cached_property
    def independent(self) -> Array:
        """How many independent values a channel has: in a picture, all positions are one."""
        return self.per_channel if self.network.white_input else np.full_like(self.positions, self.network.samples)

    @cached_property
    def layered(self) -> bool:
        """Whether the rows are the layers of a network without residual joins: no stage, no branch."""
        return bool(self.rows["stage"].isna().all()) and bool(np.isnan(self.values("residual_variance")).all())

    @cached_property
    def appending(self) -> bool:
        """Whether blocks append their features to their input, as DenseNet's do: channels grow inside a stage."""
        sizes = self.rows[self.rows["block"] > 0].groupby("stage")["channels"]
        return bool((sizes.max() > sizes.min()).any())

    @cached_property
    def heads(self) -> Flags:
        """Which rows are the head of a network without joins, whose scale no bound knows.

        Its last module has the task's scale: probabilities of a thousand classes. What comes after a global pool has
        lost most of its variance, which is that of an average over noise.
        """
        if not self.layered:
            return np.zeros(len(self.blocks), dtype=bool)
        space = self._size("height", 1.0) * self._size("width", 1.0)
        pooled: Flags = (space <= 1) & (np.maximum.accumulate(space) > 1)
        pooled[max(1, len(space) - 1) :] = True
        return pooled

    @property
    def normalized(self) -> bool:
        """Whether it is known that normalizers give every block a scale of its own."""
        return self.network.normalized

    def spread(self, statistic: str) -> Array:
        """Return the published spread of a statistic's logarithm, shape (B,)."""
        return log_spread(statistic, self.channels, self.per_channel, normalized=self.normalized)

    def _size(self, column: str, absent: float) -> Array:
        return np.asarray(self.rows[column].astype("float64").fillna(absent), dtype=np.float64)

    # What rules look at: J rows.

    @property
    def unit(self) -> str:
        """What a row is: a layer or a block."""
        return "layer" if self.layered else "block"

    @cached_property
    def judged(self) -> NDArray[np.intp]:
        """The rows that can be judged by numbers: blocks without the stem, or layers, before the first lost value."""
        lost = np.flatnonzero(self.nonfinite.any(axis=0))
        sound = np.arange(lost[0] if len(lost) else len(self.blocks))
        return sound if self.layered else sound[self.blocks[sound] > 0]

    @cached_property
    def stem_variance(self) -> float:
        """The variance at the input of the first block; nan where it is unknown or lost, and for layers."""
        return self._at_stem("channel_variance")

    @cached_property
    def stem_mean(self) -> float:
        """The squared mean there."""
        return self._at_stem("channel_squared_mean")

    @cached_property
    def mean(self) -> Array:
        """Squared mean at each judged row's output, shape (J,)."""
        return self.seed_mean("channel_squared_mean")[self.judged]

    @cached_property
    def variance(self) -> Array:
        """Variance at each judged row's output, shape (J,)."""
        return self.seed_mean("channel_variance")[self.judged]

    @cached_property
    def branch(self) -> Array:
        """Variance at the end of each judged block's branch, shape (J,)."""
        return self.seed_mean("residual_variance")[self.judged]

    @cached_property
    def before(self) -> Array:
        """Variance at each judged block's input, shape (J,)."""
        return np.concatenate(([self.stem_variance], self.variance[:-1])) if len(self.variance) else self.variance

    @cached_property
    def map_sizes(self) -> Array:
        """Height and width of each judged row's output, shape (2, J); 1 where it has none."""
        sizes: Array = np.maximum(np.stack([self._size("height", 1.0), self._size("width", 1.0)]), 1.0)[:, self.judged]
        return sizes

    @cached_property
    def starts(self) -> Flags:
        """Whether each judged row is the first of its stage, shape (J,)."""
        stage = self.rows["stage"].astype("float64").fillna(-1).to_numpy()[self.judged]
        return np.concatenate(([True], stage[1:] != stage[:-1])) if len(stage) else np.zeros(0, dtype=bool)

    def prediction(self, statistic: str) -> tuple[Array, Array]:
        """Return what theory predicts for every judged row."""
        values, spreads = (self.seed_mean(f"{PREDICTED}{statistic}{suffix}")[self.judged] for suffix in ("", "_spread"))
        return values, spreads / np.sqrt(max(1, len(self.seeds)))

    def at(self, place: int) -> str:
        """Return how a sentence names a judged row."""
        return self.named(int(self.judged[place]))

    def number(self, place: int) -> int:
        """Return a judged row's number in the table."""
        return int(self.blocks[self.judged[place]])

    def named(self, row: int) -> str:
        """Return how a sentence names a row."""
        number, name = int(self.blocks[row]), self.names[row]
        return f"{self.unit} {number}" + ("" if name == str(number) else f" ({name})")

    def _at_stem(self, column: str) -> float:
        stem = self.seed_mean(column)[self.blocks == 0]
        return float(stem[0]) if len(stem) == 1 and not self.layered else np.nan
