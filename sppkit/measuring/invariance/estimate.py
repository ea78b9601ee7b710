"""The passes: every picture as it is and under draws of a nuisance, the two of a pair always the same picture."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from sppkit.inputs.shifts.nuisance import partner_positions
from sppkit.measuring.forward.device import check_values, find_target, move, wake
from sppkit.measuring.forward.full_precision import full_float32
from sppkit.measuring.forward.preserve import preserved
from sppkit.measuring.forward.random_state import seed_torch
from sppkit.measuring.forward.run_model import set_mode
from sppkit.measuring.invariance.classifier import check_classifier, classify
from sppkit.stats.divergence import divergence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from sppkit.inputs.shifts.nuisance import Nuisance
    from sppkit.measuring.invariance.blocks import BlockMeter
    from sppkit.measuring.invariance.classifier import Answer
    from sppkit.measuring.invariance.pictures import Pictures

    # Called with how many passes are done, and how many there are.
    OnPass = Callable[[int, int], None]


@dataclass(frozen=True)
class Responses:
    """What a network answered.

    Attributes:
        log_p: log p(class | x) of each picture as it is, shape (N, K), float64.
        divergence: KL(p(·|x) ‖ p(·|Tx)) in nats, shape (N, draws), float64.
        likeliest: The likeliest class of each transformed picture, shape (N, draws).
        is_moved: Whether any draw changed any picture.
    """

    log_p: Tensor
    divergence: Tensor
    likeliest: Tensor
    is_moved: bool


def ask(
    model: nn.Module,
    pictures: Pictures,
    nuisance: Nuisance,
    *,
    draws: int,
    seed: int,
    device: object = None,
    meter: BlockMeter | None = None,
    on_pass: OnPass | None = None,
) -> Responses:
    """Ask a network, in eval mode and without gradients; it is left as it was, also if it raises.

    Args:
        model: The network.
        pictures: What it is shown.
        nuisance: What is done to them.
        draws: How many transformations each picture gets.
        seed: Seed of the draws.
        device: Where the network runs; where it is, if None.
        meter: Measures its blocks, where that is asked for.
        on_pass: Called after each pass.

    Returns:
        Its answers.
    """
    with answering(model, seed, device) as answer, nullcontext() if meter is None else meter.listener:
        largest = int(pictures.labelled.labels.max())
        check_classifier(model, answer, pictures.normalized(pictures.two()), largest)
        return _Passes(answer, pictures, nuisance, draws, seed, meter, on_pass).run()


@contextmanager
def answering(model: nn.Module, seed: int, device: object) -> Iterator[Answer]:
    """Yield a function from normalized pictures to log p(class | picture), in eval mode, leaving no trace."""
    check_values(model)
    target = find_target(model, device)
    wake(target)
    with ExitStack() as stack:
        stack.enter_context(preserved(model, attributes=True))
        stack.enter_context(full_float32())
        stack.enter_context(torch.no_grad())
        if device is not None:
            move(model, target)
        seed_torch(seed)
        set_mode(model, "eval")
        yield partial(classify, model, device=target)


@dataclass
class _Passes:
    """The passes of one network over all pictures."""

    answer: Answer
    pictures: Pictures
    nuisance: Nuisance
    draws: int
    seed: int
    meter: BlockMeter | None
    on_pass: OnPass | None
    done: int = 0
    is_moved: bool = False

    def run(self) -> Responses:
        if self.meter is not None:
            for indices, clean in self.pictures.iter_batches():
                self._classify(clean)
                self.meter.survey(len(indices))
        parts = [self._compare(indices, clean) for indices, clean in self.pictures.iter_batches()]
        log_p, divergences, likeliest = (torch.cat(each) for each in zip(*parts, strict=True))
        return Responses(log_p, divergences, likeliest, self.is_moved)

    def _compare(self, indices: range, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_p = self._classify(clean)
        if self.meter is not None:
            self.meter.begin_batch()
        divergences, likeliest = [], []
        for log_q in self._iter_transformed(indices, clean):
            divergences.append(divergence(log_p, log_q))
            likeliest.append(log_q.argmax(dim=1))
            if self.meter is not None:
                self.meter.compare(self.draws)
        return log_p, torch.stack(divergences, dim=1), torch.stack(likeliest, dim=1)

    def _iter_transformed(self, positions: range, clean: Tensor) -> Iterator[Tensor]:
        for draw in range(self.draws):
            partners = None
            if self.nuisance.pairs:
                chosen = partner_positions(self.nuisance, self.seed, draw, len(self.pictures.labelled))
                partners = self.pictures.read([chosen[position] for position in positions])
            streams = [f"nuisance/{self.nuisance.name}/{draw}/{position}" for position in positions]
            moved = self.nuisance.draw(clean, self.seed, streams, partners)
            self.is_moved |= not torch.equal(moved, clean)
            yield self._classify(moved)

    def _classify(self, pictures: Tensor) -> Tensor:
        log_p = self.answer(self.pictures.normalized(pictures))
        self.done += 1
        if self.on_pass is not None:
            rounds = self.draws + 1 + (self.meter is not None)
            self.on_pass(self.done, self.pictures.batches * rounds)
        return log_p
