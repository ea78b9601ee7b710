"""How far one seed is from the mean over seeds: relative variances of the statistics, propagated beside them.

The channel variance is the mean over C channels of a sum of squares, and its deviation at the input of a block goes on
into the next one: along the skip connection, and through a branch without a normalizer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sppkit.theory.signal import mean_square_correlation, squared_mean_and_variance

if TYPE_CHECKING:
    from sppkit.theory.signal import Batch, Signal


def widen(signal: Signal, batch: Batch, channels: int, *, centred_inputs: int | None, resets: bool) -> Signal:
    """Add the drift that a convolution's own C filters bring.

    A channel is a normal draw with covariances E x x' over the batch, whose variance has a relative variance of
    2 mean (E x x')² / (mean E x²)². In a network of finite width E x x' is itself off by the noise, so that even
    independent positions do not count for more than 1/noise. The mean over C channels divides it by C.

    A channel's mean has an expected square that, after centred filters, a sum over finitely many inputs estimates.

    Args:
        signal: The convolution's output.
        batch: What the statistics are taken over.
        channels: C.
        centred_inputs: Channels of the input if the filters are centred, else None.
        resets: Whether a normalizer or centred filters take the channels' means away before the next branch. Where
            they stay they drift with the variance, and coherently over all positions.

    Returns:
        The signal with its drift.
    """
    own = 2 * (mean_square_correlation(signal, batch, around_means=resets) + signal.scatter.noise) / channels
    of_mean = 2 / centred_inputs if centred_inputs else 0.0
    return replace(signal, scatter=replace(signal.scatter, drift=signal.scatter.drift + own, mean_drift=of_mean))


def add(shortcut: Signal, branch: Signal, batch: Batch, channels: int, before: float, *, resets: bool) -> Signal:
    """Return shortcut + branch, whose drifts have a common past.

    The product of the two has mean 0 and counts once more for every seed: twice the mean over C channels of their
    covariance over the batch.

    Args:
        shortcut: What the branch is added to.
        branch: With its gain.
        batch: What the statistics are taken over.
        channels: C.
        before: Drift at the block's input.
        resets: As of ``widen``.

    Returns:
        The sum, with its drift.
    """
    total = shortcut.plus(branch)
    mine, its = (squared_mean_and_variance(part, batch) for part in (shortcut, branch))
    share = _share(mine[1], its[1])
    a, b = shortcut.scatter, branch.scatter
    together = share * a.carried + (1 - share) * b.carried
    crossed = 4 * share * (1 - share) * mean_square_correlation(total, batch, around_means=resets) / channels
    drift = together**2 * before + share**2 * a.drift + (1 - share) ** 2 * b.drift + crossed
    of_mean = _share(mine[0], its[0])
    mean_drift = of_mean**2 * a.mean_drift + (1 - of_mean) ** 2 * b.mean_drift
    return replace(total, scatter=replace(total.scatter, carried=1.0, drift=drift, mean_drift=mean_drift))


def carry(branch: Signal, before: float) -> Signal:
    """Return a branch with its whole drift.

    Args:
        branch: As it is added.
        before: Drift at the block's input.

    Returns:
        The branch.
    """
    scatter = branch.scatter
    drift = scatter.carried**2 * before + scatter.drift
    return replace(branch, scatter=replace(scatter, carried=1.0, drift=drift))


def _share(a: float, b: float) -> float:
    return a / (a + b) if a + b > 0 else 0.0
