"""What one step of a training draws: pictures with every class as likely, styles, mirrorings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sppkit.inputs.shifts.generative.sizes import Settings, Sizes


class Draw(NamedTuple):
    """What one domain gets in one step.

    Attributes:
        indices: Of pictures, shape (N,).
        styles: N(0, 1) numbers, shape (N, style).
        mirrored: Whether a picture is mirrored, shape (N,).
    """

    indices: NDArray[np.int64]
    styles: NDArray[np.float32]
    mirrored: NDArray[np.bool_]


class BalancedSampler:
    """Draws a class uniformly, and one of its pictures uniformly; both with replacement."""

    def __init__(self, labels: NDArray[np.int64]) -> None:
        """Sort the pictures by class."""
        self._order = np.argsort(labels, kind="stable")
        _, self._starts, self._counts = np.unique(labels[self._order], return_index=True, return_counts=True)

    def draw(self, generator: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return the indices of ``count`` pictures."""
        classes = generator.integers(0, len(self._counts), count)
        within = generator.integers(0, self._counts[classes])
        chosen: NDArray[np.int64] = self._order[self._starts[classes] + within]
        return chosen


def draw_step(sampler: BalancedSampler, sizes: Sizes, settings: Settings, step: int) -> list[Draw]:
    """Return what each domain gets in a step; it depends on nothing but the seed and the step's number."""
    generator = keyed_generator(settings.seed, f"git/step/{step}")
    count = settings.batch_size
    return [
        Draw(
            sampler.draw(generator, count),
            generator.standard_normal((count, sizes.style), dtype=np.float32),
            generator.random(count) < (0.5 if settings.flip else 0.0),
        )
        for _ in range(sizes.domains)
    ]
