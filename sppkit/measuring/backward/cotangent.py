"""What is sent backwards, and making a network differentiable for as long as that takes."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sppkit.streams import fill_normal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


def draw_cotangent(shape: torch.Size, like: Tensor, seed: int, number: int) -> Tensor:
    """Return white noise N(0, 1) from the stream ``cotangent/<number>``."""
    noise = np.empty(shape, dtype=np.float32)
    fill_normal(noise, seed, f"cotangent/{number}")
    return torch.from_numpy(noise).to(like)


def why_undifferentiable(model: nn.Module) -> str | None:
    """Return why no gradient can be had of a model, whatever it computes; None if there is no such reason."""
    if any(tensor.is_inference() for tensor in chain(model.parameters(), model.buffers())):
        return (
            "the model was made or loaded under torch.inference_mode(), where autograd keeps nothing: make it outside."
        )
    return None


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Let autograd follow values through a network, also through frozen layers.

    Parameters are what tokens' values are computed from, and what is left to differentiate by behind a detached value;
    no gradient with respect to them is computed. ``preserved`` restores their flags.
    """
    with torch.inference_mode(False), torch.enable_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.is_leaf:
                parameter.requires_grad_()
        yield
