"""Batch normalization for weights that are noisy when they are used (Tsai et al. 2020, arXiv:2007.03230).

Analog hardware adds noise to the weights, which shifts what a layer puts out; the running statistics of training are
then wrong, and recomputing them under the noise corrects it, without training and without a model of the noise. There
is neither released code nor an equation in the abstracts we had: the forms below are what the abstracts' words say.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sppkit.errors import UsageError
from sppkit.models.normalizers.batch import EPSILON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Statistics = Literal["calibrated", "frozen", "batch", "ema"]


class NoiseAwareBatchNorm(nn.BatchNorm2d):
    """Batch normalization whose eval mode has statistics of the noisy network.

    Train mode is batch normalization. Scale and offset are never touched.

    Attributes:
        statistics: What eval mode normalizes by. ``calibrated``: stored statistics that were taken under the noise.
            ``frozen``: stored statistics of the clean network, which is batch normalization without a correction.
            ``batch``: those of the batch itself. ``ema``: the stored ones, moved by every batch before they are used.
    """

    def __init__(self, channels: int, statistics: Statistics = "calibrated") -> None:
        super().__init__(channels, eps=EPSILON)
        self.statistics = statistics

    def forward(self, x: Tensor) -> Tensor:
        """Normalize every channel."""
        if self.training or self.statistics in {"calibrated", "frozen"}:
            return super().forward(x)
        if self.statistics == "batch":
            return functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        self._move(x)
        return super().forward(x)

    @torch.no_grad()
    def _move(self, x: Tensor) -> None:
        # A call in train mode moves the running statistics as torch defines it; its output is not used.
        functional.batch_norm(
            x, self.running_mean, self.running_var, training=True, momentum=self.momentum or 0.0, eps=self.eps
        )

    def extra_repr(self) -> str:
        """Name the statistics of eval mode beside torch's own description."""
        inherited: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{inherited}, statistics={self.statistics}"


def noise_aware_batch_norm(channels: int, statistics: Statistics = "calibrated") -> nn.Module:
    """Return noise-aware batch normalization of (N, C, H, W)."""
    return NoiseAwareBatchNorm(channels, statistics)


def calibrate(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace the running statistics of every batch normalization by those of some unlabelled batches.

    They are the plain average over the batches, each taken with the network as it is now, noise included; weights,
    scales, offsets, training flags and momenta stay as they are.
    """
    modules = [item for item in model.modules() if isinstance(item, nn.BatchNorm2d) and item.track_running_stats]
    if not modules:
        raise UsageError("there is nothing to calibrate: the model has no BatchNorm2d with running statistics.")
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise UsageError("there is no batch to calibrate with; the running statistics are left as they were.")
    with _averaging(model, modules), torch.no_grad():
        for batch in chain([first], remaining):
            model(batch)
    return len(modules)


@contextmanager
def _averaging(model: nn.Module, modules: list[nn.BatchNorm2d]) -> Iterator[None]:
    flags = [(module, module.training) for module in model.modules()]
    momenta = [(norm, norm.momentum) for norm in modules]
    # Only the normalizers learn: dropout and the like stay as the model's use has them.
    model.eval()
    for norm in modules:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain average
        norm.training = True
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
        for norm, momentum in momenta:
            norm.momentum = momentum
