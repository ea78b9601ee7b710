"""A network's blocks as a list to read, without building it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sppkit.models.places import iter_places, stride_of
from sppkit.models.scaling import iter_expected_variance

if TYPE_CHECKING:
    from sppkit.models.spec import ModelSpec


@dataclass(frozen=True)
class BlockOutline:
    """One block, or a run of neighbours that differ only in their number and beta.

    Attributes:
        first: Number of the first block (1 is the first residual block; 0 the stem).
        last: Number of the last block.
        stage: From 1; 0 for the stem.
        channels: Before, between and after the convolutions.
        stride: Of the block.
        projects: Whether its shortcut is a convolution.
        betas: Expected standard deviation at the input of the first and last block; None outside NF-ResNets.
    """

    first: int
    last: int
    stage: int
    channels: tuple[int, ...]
    stride: int
    projects: bool
    betas: tuple[float, float] | None

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        if self.first == 0:
            return ("0", "stem", f"3→{self.channels[-1]}", "", "")
        several = self.last > self.first
        indices = f"{self.first - 1}..{self.last - 1}" if several else str(self.first - 1)
        return (
            f"{self.first}–{self.last}" if several else f"{self.first}{'*' * self.projects}",
            str(self.stage),
            f"{self.channels[0]}→{self.channels[-1]}",
            _range(self.betas),
            f"blocks.{indices}.residual",
        )


def outline(spec: ModelSpec, *, every: bool = False) -> list[BlockOutline]:
    """List a network's blocks."""
    rows = [BlockOutline(0, 0, 0, (spec.stem_channels,), 1, False, None)]
    betas = [variance**0.5 for variance in iter_expected_variance(spec.stages, spec.alpha)]
    listed = spec if every else replace(spec, stages=tuple(min(blocks, 2) for blocks in spec.stages))
    for stage, position, channels in iter_places(listed):
        first = rows[-1].last + 1
        last = first if every or position == 0 else first + spec.stages[stage] - 2
        stride = stride_of(spec, stage, position)
        ends = (betas[first - 1], betas[last - 1]) if spec.scaled else None
        rows.append(BlockOutline(first, last, stage + 1, channels, stride, position == 0, ends))
    return rows


def _range(betas: tuple[float, float] | None) -> str:
    if betas is None:
        return ""
    first, last = (f"{beta:.2f}" for beta in betas)
    return first if first == last else f"{first}–{last}"
