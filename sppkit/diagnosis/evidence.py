"""What every rule looks at: the curves, seeds averaged, with what theory predicts and what the record says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sppkit.diagnosis.blocks import average_seeds
from sppkit.diagnosis.network import Network, read_network
from sppkit.diagnosis.result import Diagnosis, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Evidence:
    """The curves of one network.

    Attributes:
        blocks: One row per block, as ``average_seeds`` makes it, in execution order.
        network: What the record says about the network.
        seeds: Over how many seeds was averaged.
    """

    blocks: pd.DataFrame
    network: Network
    seeds: int

    @cached_property
    def layered(self) -> bool:
        """Whether the rows are the layers of a network without residual joins: no stage, no branch."""
        return bool(self.blocks[["stage", "residual_variance"]].isna().all(axis=None))

    @cached_property
    def appending(self) -> bool:
        """Whether blocks append their features to their input, as DenseNet's do: channels grow inside a stage."""
        blocks = self.blocks[self.blocks["block"] > 0]
        sizes = blocks.groupby("stage")["channels"]
        return bool((sizes.max() > sizes.min()).any())

    @property
    def unit(self) -> str:
        """What a row is: a layer or a block."""
        return "layer" if self.layered else "block"

    @cached_property
    def residual(self) -> pd.DataFrame:
        """The rows that can be judged by numbers: blocks without the stem, or layers, before the first lost value."""
        lost = (self.blocks["nonfinite"].fillna(0) > 0).to_numpy(dtype=bool)
        sound = self.blocks.iloc[: int(np.argmax(lost)) if lost.any() else len(lost)]
        return sound if self.layered else sound[sound["block"] > 0]

    @cached_property
    def stem_variance(self) -> float:
        """The variance at the input of the first block; nan where it is unknown or lost, and for layers."""
        return self._at_stem("channel_variance")

    @cached_property
    def stem_mean(self) -> float:
        """The squared mean there."""
        return self._at_stem("channel_squared_mean")

    @cached_property
    def mean(self) -> Floats:
        """Squared mean at each residual block's output."""
        return self._column("channel_squared_mean")

    @cached_property
    def variance(self) -> Floats:
        """Variance at each residual block's output."""
        return self._column("channel_variance")

    @cached_property
    def branch(self) -> Floats:
        """Variance at the end of each block's branch."""
        return self._column("residual_variance")

    @cached_property
    def before(self) -> Floats:
        """Variance at each residual block's input."""
        return np.concatenate(([self.stem_variance], self.variance[:-1])) if len(self.variance) else self.variance

    @cached_property
    def map_sizes(self) -> Floats:
        """Height and width of each residual block's output, of shape (2, blocks); 1 where it has none."""
        sizes = self.residual[["height", "width"]].astype("float64").fillna(1.0).to_numpy().T
        at_least_one: Floats = np.maximum(sizes, 1.0)
        return at_least_one

    @cached_property
    def counts(self) -> Floats:
        """Independent values of a channel that a block's statistics are over: in a picture, all positions are one."""
        positions: Floats = self.map_sizes.prod(axis=0)
        return self.network.samples * (positions if self.network.white_input else np.ones_like(positions))

    @cached_property
    def starts(self) -> Flags:
        """Whether each residual block is the first of its stage."""
        stage = self.residual["stage"].fillna(-1).to_numpy(dtype=float)
        return np.concatenate(([True], stage[1:] != stage[:-1])) if len(stage) else np.zeros(0, dtype=bool)

    def predicted(self, place: int, statistic: str) -> tuple[float | None, float | None]:
        """Return what theory predicts for a residual block.

        Args:
            place: Its index among the residual blocks.
            statistic: A column of the table.

        Returns:
            The prediction, and the standard deviation of an average over this many seeds; None where there is none.
        """
        values, spreads = self.prediction(statistic)
        return _number(values[place]), _number(spreads[place])

    def prediction(self, statistic: str) -> tuple[Floats, Floats]:
        """Return what theory predicts for every residual block.

        Args:
            statistic: A column of the table.

        Returns:
            Predictions, and the standard deviations of an average over this many seeds; nan where there is none.
        """
        names = f"predicted_{statistic}", f"predicted_{statistic}_spread"
        nothing = np.full(len(self.residual), math.nan)
        values, spreads = (self._column(name) if name in self.residual else nothing for name in names)
        return values, spreads / math.sqrt(self.seeds)

    def diagnosis(
        self,
        name: str,
        severity: Severity,
        *,
        begins: int,
        worst: int,
        statistic: str,
        limit: float,
        fact: str,
        cause: str,
        remedy: str,
        found: float | None = None,
    ) -> Diagnosis:
        """Return a diagnosis of these curves.

        Args:
            name: Which fault.
            severity: How bad it is.
            begins: Index of the residual block where it begins.
            worst: Index of the residual block where it is worst.
            statistic: The column that shows it.
            limit: The threshold at the worst block.
            fact: What is seen.
            cause: The likely cause.
            remedy: What to do.
            found: The value at the worst block; that of the column where it is left out, and only then is it compared
                with a prediction.

        Returns:
            The diagnosis.
        """
        expected, spread = (None, None) if found is not None else self.predicted(worst, statistic)
        first = self.residual.iloc[begins]
        return Diagnosis(
            name=name,
            severity=severity,
            block=int(first["block"]),
            block_name=str(first["name"]),
            worst_block=int(self.residual["block"].iloc[worst]),
            statistic=statistic,
            found=float(self.residual[statistic].iloc[worst]) if found is None else found,
            limit=limit,
            expected=expected,
            spread=spread,
            fact=fact,
            cause=cause,
            remedy=remedy,
        )

    def at(self, place: int) -> str:
        """Return how a sentence names a residual block.

        Args:
            place: Its index among the residual blocks.

        Returns:
            For instance ``block 23 (blocks.22)``.
        """
        row = self.residual.iloc[place]
        name = "" if row["name"] == str(row["block"]) else f" ({row['name']})"
        return f"{self.unit} {row['block']}{name}"

    def number(self, place: int) -> int:
        """Return a residual block's number in the table.

        Args:
            place: Its index among the residual blocks.

        Returns:
            The number.
        """
        return int(self.residual["block"].iloc[place])

    def _at_stem(self, name: str) -> float:
        stem = self.blocks.loc[self.blocks["block"] == 0, name]
        return float(stem.iloc[0]) if len(stem) == 1 and not self.layered else math.nan

    def _column(self, name: str) -> Floats:
        return self.residual[name].to_numpy(dtype=float)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def collect_evidence(table: pd.DataFrame, record: Mapping[str, Any] | None = None) -> Evidence:
    """Average a table's seeds and read its record.

    Args:
        table: As measured or read.
        record: The run's record, if there is one.

    Returns:
        What the rules look at.
    """
    blocks = average_seeds(table)
    network = read_network(record or {}, int((blocks["block"] > 0).sum()))
    return Evidence(blocks, network, max(1, int(table["seed"].nunique())))
