"""A trained transformation as an augmentation in a training loop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sppkit.config import parsers
from sppkit.errors import UsageError
from sppkit.inputs.shifts.generative.generator import Generator
from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor


class GenerativeTransform:
    """Replaces a part of each batch by pictures that a trained generator has transformed; labels stay.

    Call it with a batch, before normalization. Which pictures are replaced, and by what, depends on the seed and on how
    many batches came before, and on nothing else: no global random state is read or changed.

    In the paper (Zhou et al. 2022, arXiv:2203.09739) half of a batch is drawn anew, independently, and transformed.
    Where the pictures of a batch are drawn independently of each other, transforming the last half of the batch is the
    same; where an epoch shuffles the pictures, each comes once, transformed or not.

    Call it in the training loop: workers of a loader would count batches each for itself. Of several processes that
    train together, each wants a seed of its own.

    Args:
        path_or_generator: A file of ``sppkit git train``, or what ``sppkit.train_git`` has returned.
        class_sizes: Training pictures of each class: a sequence, indexed by label, or a mapping from labels.
        threshold: K, in pictures. Only classes with at most K training pictures are transformed; None: all of them.
        ramp: Whether a picture of a class with n pictures is transformed with probability
            max(0, (K - n) / (K - smallest n)) instead, as the authors' code does it.
        fraction: Share of each batch that is replaced where its class is to be, from 0 to 1; the last
            round(fraction · N) pictures (halves up) are.
        seed: Of styles and of the ramp.

    Attributes:
        generator: The transformation.
        batches: How many batches it has been called with.

    Raises:
        UsageError: For a file that is none of a generator, a threshold without class sizes, a ramp without a threshold,
            or numbers out of range.
    """

    def __init__(
        self,
        path_or_generator: str | Path | Generator,
        *,
        class_sizes: Sequence[int] | Mapping[int, int] | None = None,
        threshold: float | None = None,
        ramp: bool = False,
        fraction: float = 0.5,
        seed: int = 0,
    ) -> None:
        given = path_or_generator
        self.generator = given if isinstance(given, Generator) else Generator.read(given)
        self.fraction = _checked("fraction", parsers.real_number(0, 1), fraction)
        self.seed = _checked("seed", parsers.parse_seed, seed)
        self.batches = 0
        self._probability = _probabilities(class_sizes, threshold, ramp=ramp)

    def __call__(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return a batch of which a part is transformed, and its labels.

        Args:
            pictures: Values in [0, 1], shape (N, C, H, W), as the generator was trained on.
            labels: Whole numbers, shape (N,).

        Returns:
            New pictures of the same shape, dtype and device, and the labels as they are.

        Raises:
            UsageError: For other shapes or values, or a label whose class has no size.
        """
        self.generator.check(pictures)
        if labels.shape != pictures.shape[:1]:
            raise UsageError(f"labels must be of the shape ({len(pictures)},), not {tuple(labels.shape)}.")
        chosen, styles = self._draw(labels)
        self.batches += 1
        result = pictures.clone()
        if len(chosen):
            rows = torch.from_numpy(chosen).to(pictures.device)
            result[rows] = self.generator.transform(pictures[rows], torch.from_numpy(styles))
        return result, labels

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint of the training needs to hold."""
        return {"batches": self.batches}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on as after the batches of a checkpoint."""
        self.batches = state["batches"]

    def _draw(self, labels: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return which rows of a batch are transformed, and with what styles."""
        generator = keyed_generator(self.seed, f"git/batch/{self.batches}")
        count = math.floor(self.fraction * len(labels) + 0.5)
        rows = np.arange(len(labels) - count, len(labels))
        # Drawn for every row, so that one label changes nothing for the others.
        styles = generator.standard_normal((count, self.generator.style), dtype=np.float32)
        probability = np.array([self._of(label) for label in labels[len(labels) - count :].tolist()])
        kept = generator.random(count) < probability
        return rows[kept], styles[kept]

    def _of(self, label: int) -> float:
        if self._probability is None:
            return 1.0
        if label not in self._probability:
            raise UsageError(f"class_sizes says nothing of the label {label}; give every class a size.")
        return self._probability[label]


def _probabilities(
    sizes: Sequence[int] | Mapping[int, int] | None, threshold: float | None, *, ramp: bool
) -> dict[int, float] | None:
    """Return with what probability a picture of each class is transformed; None: all are.

    Raises:
        UsageError: For a ramp without a threshold, or a threshold without sizes.
    """
    if threshold is None:
        if ramp:
            raise UsageError("ramp=True needs a threshold, where the ramp ends at probability 0.")
        return None
    if sizes is None:
        raise UsageError(f"threshold={threshold} needs class_sizes: how many training pictures each class has.")
    limit = _checked("threshold", parsers.real_number(0, 1e30), threshold)
    counts = {int(label): int(size) for label, size in _items(sizes)}
    if not ramp:
        return {label: float(size <= limit) for label, size in counts.items()}
    smallest = min(counts.values())
    if limit <= smallest:  # the ramp would end before it begins
        return dict.fromkeys(counts, 0.0)
    return {label: max(0.0, (limit - size) / (limit - smallest)) for label, size in counts.items()}


def _items(sizes: Any) -> list[tuple[Any, Any]]:
    counts = list(sizes.items() if hasattr(sizes, "items") else enumerate(sizes))
    if not counts or any(size != int(size) or size < 0 for _, size in counts):
        raise UsageError("class_sizes must be whole numbers of pictures, one for each class.")
    return counts


def _checked(name: str, parse: Any, value: object) -> Any:
    try:
        return parse(name, value)
    except UsageError as error:
        raise UsageError(str(error).replace(parsers.flag_of(name), name)) from None
