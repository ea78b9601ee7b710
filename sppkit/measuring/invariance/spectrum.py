"""What a classifier goes by, a spectrum's amplitudes or its phases (Chen et al. 2021, arXiv:2108.08487)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from sppkit.config.parsers import one_of, parse_seed, whole_number
from sppkit.errors import UsageError
from sppkit.inputs.labelled import picture_tensor
from sppkit.inputs.shifts.apr import recombine
from sppkit.measuring.declared_sites import as_network
from sppkit.measuring.invariance.estimate import answering
from sppkit.measuring.invariance.pictures import computed_in, read_normalization
from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from sppkit.inputs.shifts.apr import Axes


class SpectrumShares(NamedTuple):
    """How often a classifier answers to a picture of two by one or the other.

    Attributes:
        pairs: Number of pictures made of two whose answers differ.
        amplitude: Share of them that is answered like the picture whose amplitudes it has.
        amplitude_se: Its standard error over pictures.
        phase: Share of them that is answered like the picture whose phases it has.
        phase_se: Its standard error over pictures.
    """

    pairs: int
    amplitude: float
    amplitude_se: float
    phase: float
    phase_se: float


def spectrum_shares(
    model: nn.Module,
    inputs: object,
    *,
    axes: Axes = "chw",
    draws: int = 1,
    seed: int = 0,
    normalize: tuple[float | Sequence[float], float | Sequence[float]] | None = None,
    batch_size: int = 64,
    device: str | torch.device | None = None,
) -> SpectrumShares:
    """Measure whether a classifier goes by the amplitudes of a picture's spectrum or by its phases.

    Each picture a lends its phases and a partner b its amplitudes; the answer to the picture made of both is held
    against the answers to a and to b. Pairs to which the answers are the same are left out: they can't tell. People go
    by the phases; that networks go by the amplitudes is what the paper argues.

    Args:
        model: A classifier, as for ``invariance``; run in eval mode, and left as it was.
        inputs: Pictures, as for ``invariance``.
        axes: What the transform is taken over: channels, height and width (``chw``), or height and width of each
            channel (``hw``).
        draws: Partners per picture: in each draw a permutation of the pictures, of the stream
            ``spectrum/<draw>``.
        seed: Seed of the permutations.
        normalize: As for ``invariance``.
        batch_size: Pictures at a time.
        device: Where to run; where the model is, if None.

    Returns:
        The shares.

    Raises:
        UsageError: If the pictures or an option can't be used, or the model gives all pictures one answer.
        MeasurementError: If its forward pass fails.
    """
    pictures = picture_tensor(inputs)
    dtype = computed_in(as_network(model)) or pictures.dtype
    normalization = read_normalization(normalize, pictures.shape[1])
    one_of("chw", "hw")("axes", axes)
    size = whole_number(1)("batch_size", batch_size)
    seed, draws = parse_seed("seed", seed), whole_number(1)("draws", draws)
    orders = [
        torch.from_numpy(keyed_generator(seed, f"spectrum/{draw}").permutation(len(pictures))) for draw in range(draws)
    ]
    with answering(as_network(model), seed, device) as answer:

        def decide(shown: Callable[[slice], Tensor]) -> Tensor:
            parts = [slice(first, first + size) for first in range(0, len(pictures), size)]
            batches = (normalization.apply(shown(part)).to(dtype) for part in parts)
            return torch.cat([answer(batch).argmax(dim=1) for batch in batches])

        clean = decide(pictures.__getitem__)
        mixed = torch.stack([decide(_mixer(pictures, order, axes)) for order in orders], dim=1)
    others = torch.stack([clean[order] for order in orders], dim=1)
    differs = others != clean[:, None]
    if not differs.any():
        raise UsageError(
            f"{type(model).__name__} gives the same answer to both pictures of every pair; there is nothing to tell. "
            "Give pictures of several classes, or more draws."
        )
    amplitude, phase = (_share(mixed == whose, differs) for whose in (others, clean[:, None]))
    return SpectrumShares(int(differs.sum()), *amplitude, *phase)


def _mixer(pictures: Tensor, order: Tensor, axes: Axes) -> Callable[[slice], Tensor]:
    return lambda part: recombine(amplitudes=pictures[order[part]], phases=pictures[part], axes=axes)


def _share(answered: Tensor, differs: Tensor) -> tuple[float, float]:
    """Return a share of the pairs that differ and its error: that of a ratio of means over pictures."""
    hits, pairs = (answered & differs).sum(dim=1).double(), differs.sum(dim=1).double()
    share = hits.sum() / pairs.sum()
    error = (hits - share * pairs).std() / (len(hits) ** 0.5 * pairs.mean())
    return float(share), float(error)
