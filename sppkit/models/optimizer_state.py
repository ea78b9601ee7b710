"""What an optimizer remembers of past gradients, when weights are rescaled between two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

# What each keeps for a parameter, and the power of the gradient that it is a mean of.
_ADAM: Mapping[str, int] = {"exp_avg": 1, "exp_avg_sq": 2, "max_exp_avg_sq": 2}
_POWERS: Mapping[type[torch.optim.Optimizer], Mapping[str, int]] = {
    torch.optim.SGD: {"momentum_buffer": 1},
    torch.optim.Adam: _ADAM,
    torch.optim.AdamW: _ADAM,
}


class GradientMemory:
    """The state of SGD, Adam or AdamW: running means of gradients and of their squares.

    A weight that is multiplied by d has a gradient divided by d, in a network that computes the same; so has what is
    remembered of its gradients (Stock et al. 2019, the released code, for SGD).
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        powers = next((_POWERS[kind] for kind in type(optimizer).__mro__ if kind in _POWERS), None)
        if powers is None:
            raise UsageError(
                f"what {type(optimizer).__name__} remembers of gradients can't be rescaled with the weights; "
                "SGD, Adam and AdamW can."
            )
        self._optimizer, self._powers = optimizer, powers

    @torch.no_grad()
    def follow(self, tensor: Tensor, factor: Tensor) -> None:
        """Rescale what is remembered of a parameter, or of a view of one, that was multiplied by a factor."""
        parameter = tensor if tensor in self._optimizer.state else tensor._base  # noqa: SLF001 - what it is a view of
        state = self._optimizer.state.get(parameter, {}) if parameter is not None else {}
        for name, power in self._powers.items():
            value = state.get(name)
            if value is not None:  # SGD without momentum has none
                value.view(tensor.shape).div_(factor.pow(power).to(value.dtype))
