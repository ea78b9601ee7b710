"""Real data that ships in packages: handwritten digits, and the text of Python's own help."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pydoc_data.topics import topics

import torch
from sklearn.datasets import load_digits
from torch import Tensor

# Characters of the text that are kept; the rest, capitals included, becomes a space.
ALPHABET = " abcdefghijklmnopqrstuvwxyz.,()'=:\n_"
LENGTH = 32
CLASSES = 10


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return 1,797 pictures of shape (1, 8, 8), standardized as a whole, and their digits."""
    pictures, labels = load_digits(return_X_y=True)
    values = torch.tensor(pictures, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return (values - values.mean()) / values.std(), torch.tensor(labels)


@cache
def text() -> Tensor:
    """Return the text as numbers of characters."""
    known = {character: number for number, character in enumerate(ALPHABET)}
    joined = "\n".join(topics[name] for name in sorted(topics)).lower()
    return torch.tensor([known.get(character, 0) for character in joined])


@cache
def blind_loss(kind: str) -> float:
    """Return the loss, in nats, of the best guess that does not look at the input: the labels' entropy."""
    labels = text() if kind == "text" else digits()[1]
    counts = torch.tensor(list(Counter(labels.tolist()).values()), dtype=torch.float64)
    return float(-(counts / counts.sum() * torch.log(counts / counts.sum())).sum())


def sample(kind: str, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a batch: pictures (N, 1, 8, 8), flat pictures (N, 64) or tokens (N, 32), and what is to be predicted."""
    if kind == "text":
        starts = torch.randint(len(text()) - LENGTH - 1, (size, 1), generator=generator)
        windows = text()[starts + torch.arange(LENGTH + 1)]
        return windows[:, :-1], windows[:, 1:]
    pictures, labels = digits()
    chosen = torch.randint(len(labels), (size,), generator=generator)
    batch = pictures[chosen]
    return (batch.flatten(1) if kind == "flat" else batch), labels[chosen]


def loss_that_counts(kind: str) -> float:
    """Return the training loss below which a network has learnt something of its input.

    Half of the blind loss for digits: there a network is right more often than wrong. For text a tenth below it, about
    half of what the character before tells.
    """
    return (0.9 if kind == "text" else 0.5) * blind_loss(kind)


assert math.isclose(blind_loss("image"), math.log(CLASSES), rel_tol=1e-3)  # the digits are balanced
