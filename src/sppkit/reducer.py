"""What is kept of a signal for the statistics that were asked for, and the numbers that come of it."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

import torch

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.stats.moments import MOMENTS, ChannelMoments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from sppkit.sites import LayerRole, Role
    from sppkit.stats.statistic import Reduction, Statistic

    # By reduction; or, where there is nothing to merge, the statistics themselves, each of shape (), by name.
    Kept = Mapping[Reduction[Any], Any] | Mapping[str, Tensor | float]

# Every signal at a block's own sites is searched for values that are not finite.
NONFINITE = "nonfinite"


class Reducer:
    """The statistics of every role, and what they need; no reduction is made twice of one signal.

    Attributes:
        stats: Names of the statistics.
    """

    def __init__(self, stats: Sequence[str]) -> None:
        self.stats = tuple(stats)
        self._names: dict[str, list[str]] = defaultdict(list)
        for name in stats:
            self._names[registry.STATISTICS[name].role].append(name)
        self._reductions: dict[str, tuple[Reduction[Any], ...]] = {}

    @property
    def layer_roles(self) -> frozenset[LayerRole]:
        """The roles inside blocks at which there is something to measure."""
        return frozenset(cast("LayerRole", role) for role in self._names.keys() - {"block_output", "residual_branch"})

    def names(self, role: Role | LayerRole) -> Sequence[str]:
        """Return the statistics of a role."""
        return self._names.get(role, ())

    def reduce(self, role: Role | LayerRole, signal: Tensor) -> Kept:
        """Reduce a signal to what its role's statistics need.

        Args:
            role: What the signal is.
            signal: Shape (N, C, *space), or a weight.

        Returns:
            What is kept.
        """
        if role not in self._reductions:
            needed = [load_statistic(name).reduction for name in self.names(role)]
            always = [] if role in self.layer_roles else [MOMENTS]
            self._reductions[role] = tuple(dict.fromkeys([*always, *needed]))
        return {reduction: reduction.reduce(signal) for reduction in self._reductions[role]}

    def summarize(self, role: Role | LayerRole, kept: Kept) -> dict[str, Tensor]:
        """Return the statistics of a role.

        Args:
            role: What the signal is.
            kept: What ``reduce`` has kept of it, merged or not.

        Returns:
            By name, each of shape (); of a block's own sites also the number of values that are not finite.
        """
        by_reduction = cast("Mapping[Reduction[Any], Any]", kept)
        statistics = {name: load_statistic(name) for name in self.names(role)}
        values = {name: item.value(by_reduction[item.reduction]) for name, item in statistics.items()}
        if MOMENTS in by_reduction and role not in self.layer_roles:
            moments: ChannelMoments = by_reduction[MOMENTS]
            values[NONFINITE] = moments.nonfinite.double()
        return values


def merge_kept(a: Kept, b: Kept) -> Kept:
    """Return what would have been kept of two signals together.

    Args:
        a: What was kept of the first.
        b: What was kept of the second, for the same role.

    Returns:
        What is kept of both.

    Raises:
        UsageError: If only statistics were kept.
    """
    first, second = (cast("Mapping[Reduction[Any], Any]", kept) for kept in (a, b))
    if not is_reduced(first):
        raise UsageError("a probe for a single forward pass saw a second one; make it without single=True.")
    return {reduction: reduction.merge(first[reduction], second[reduction]) for reduction in first}


def is_reduced(kept: Kept) -> bool:
    """Return whether statistics are still to be computed from what was kept."""
    return not any(isinstance(key, str) for key in kept)


@functools.cache
def load_statistic(name: str) -> Statistic[Any]:
    """Return a registered statistic."""
    statistic: Statistic[Any] = registry.resolve("statistic", name)
    return statistic


def fetch(scalars: Iterable[Tensor | float]) -> list[float]:
    """Bring numbers to the host, all at once: the only time that it waits for the device.

    Args:
        scalars: Numbers and tensors of shape ().

    Returns:
        The numbers.
    """
    tensors = [_as_tensor(value) for value in scalars]
    if not tensors:
        return []
    return [float(value) for value in torch.stack(tensors).cpu().tolist()]


def _as_tensor(value: Tensor | float) -> Tensor:
    # On the CPU whatever the user's default device.
    return torch.tensor(value, dtype=torch.float64, device="cpu") if isinstance(value, float) else value
