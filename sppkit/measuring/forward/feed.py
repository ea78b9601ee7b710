"""Batches through a network: those that warm it up, and those that are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from sppkit.errors import UsageError
from sppkit.measuring.forward.run_model import call_model, explain_failure, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import nn

    from sppkit.measuring.backward.gradients import Gradients
    from sppkit.sites import Site


class Hearing(Protocol):
    """What listens while batches pass, as far as feeding a model needs to know it."""

    @property
    def last(self) -> Site | None:
        """The last site that was reached."""
        ...

    @property
    def raised(self) -> Exception | None:
        """What the user's own callback raised, if it did."""
        ...

    @property
    def gradients(self) -> Gradients | None:
        """What hears the backward direction, where it is heard."""
        ...


def warm_up(model: nn.Module, batches: Iterable[object], device: torch.device) -> None:
    """Run a model in train mode on batches that are not measured."""
    flags: list[tuple[nn.Module, bool]] = []
    for batch in batches:
        flags = flags or [(module, module.training) for module in model.modules()]
        model.train()
        try:
            with torch.no_grad():
                call_model(model, batch, device)
        except Exception as error:  # whatever a model raises
            raise explain_failure(error, "during warm-up") from error
    for module, training in flags:
        module.training = training


def feed(
    model: nn.Module,
    batches: Iterable[object],
    device: torch.device,
    probe: Hearing,
    on_output: Callable[[object], None] | None,
) -> None:
    """Run a model on the batches to be measured."""
    fed = 0
    for batch in batches:
        try:
            output = call_model(model, batch, device)
        except Exception as error:  # whatever a model raises
            if error is probe.raised:  # by the user's own callback
                raise
            raise explain_failure(error, reached(probe.last)) from error
        if on_output is not None:
            on_output(output)
        del output  # and with it the graph of what comes after the last row
        if probe.gradients is not None:
            probe.gradients.send_cotangent()
        fed += 1
    if fed == 0:
        raise UsageError("there is no batch to measure: the inputs are empty.")
