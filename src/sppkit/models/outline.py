"""A network's blocks as a list to read, without building it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sppkit.models.resnet import iter_places
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
        channels: Before, between and behind the convolutions.
        stride: Of the block.
        projects: Whether its shortcut is a convolution.
        betas: Expected standard deviation at the input of the first and last block; None outside NF-ResNets.
        alpha: Scale of the branch.
    """

    first: int
    last: int
    stage: int
    channels: tuple[int, ...]
    stride: int
    projects: bool
    betas: tuple[float, float] | None
    alpha: float

    def cells(self) -> tuple[str, ...]:
        """Return the row as text.

        Returns:
            Block, stage, channels, stride, beta, alpha, and the modules whose outputs are read.
        """
        if self.first == 0:
            return ("0", "stem", f"3→{self.channels[-1]}", "", "", "", "stem_pool", "")
        alike = f"–{self.last}" if self.last > self.first else ""
        indices = f"{self.first - 1}..{self.last - 1}" if alike else str(self.first - 1)
        shape = "→".join(map(str, self.channels)) + (" (projects)" if self.projects else "")
        return (
            f"{self.first}{alike}",
            str(self.stage),
            shape,
            str(self.stride),
            _range(self.betas),
            f"{self.alpha:g}",
            f"blocks.{indices}",
            f"blocks.{indices}.residual",
        )


def outline(spec: ModelSpec, *, every: bool = False) -> list[BlockOutline]:
    """List a network's blocks.

    Args:
        spec: The network.
        every: One entry per block; else neighbours that are alike share one.

    Returns:
        The stem and the blocks, in execution order.
    """
    rows = [BlockOutline(0, 0, 0, (spec.stem_channels,), 1, False, None, spec.alpha)]
    variances = iter_expected_variance(spec.stages, spec.alpha)
    for number, (stage, position, channels) in enumerate(iter_places(spec), 1):
        beta = next(variances) ** 0.5
        betas = (beta, beta) if spec.scaled else None
        stride = 2 if position == 0 and stage > 0 else 1
        row = BlockOutline(number, number, stage + 1, channels, stride, position == 0, betas, spec.alpha)
        if not every and _alike(rows[-1], row):
            rows[-1] = replace(rows[-1], last=number, betas=betas and rows[-1].betas and (rows[-1].betas[0], beta))
        else:
            rows.append(row)
    return rows


def _alike(a: BlockOutline, b: BlockOutline) -> bool:
    return (a.stage, a.channels, a.stride, a.projects) == (b.stage, b.channels, b.stride, b.projects)


def _range(betas: tuple[float, float] | None) -> str:
    if betas is None:
        return ""
    first, last = (f"{beta:.3f}" for beta in betas)
    return first if first == last else f"{first}–{last}"
