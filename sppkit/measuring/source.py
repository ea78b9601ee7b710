"""The one face of everything that can be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import torch
    from torch import nn

    from sppkit.config.resolve import Resolved
    from sppkit.inputs.batches import Inputs

    # Called with how much of a network's weights is drawn and how much there is.
    OnDrawn = Callable[[int, int], None] | None


class Source(Protocol):
    """A network that comes to life once per seed, together with what goes into it."""

    @property
    def resolved(self) -> Resolved:
        """The run's configuration, with the defaults that this network decides."""
        ...

    @property
    def blocks(self) -> int | None:
        """Number of rows that one seed gives; None where only measuring tells."""
        ...

    def prepared(
        self, seed: int, device: torch.device, on_drawn: OnDrawn
    ) -> AbstractContextManager[tuple[nn.Module, Inputs]]:
        """Build the network and its inputs.

        Args:
            seed: Seed of whatever is drawn.
            device: Where the network is to be.
            on_drawn: Called as weights are drawn.

        Returns:
            A context in which the network can be run: on the device, in the run's type, its weights in place.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return what a record says of the network; JSON-ready, complete once it was prepared."""
        ...

    def iter_warnings(self) -> Iterator[str]:
        """Yield what the user should know; complete once the network was prepared."""
        ...

    def explain(self, shape: str) -> str:
        """Return what to try where the forward pass failed.

        Args:
            shape: Of a batch, in words.

        Returns:
            A second line for the error.
        """
        ...
