"""Applying an add-on at a residual join of a user's model: to what a module returns, or to what it is handed.

Objects instead of functions: a copy of the model has a copy of them, which applies the copy's own add-on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn

Side = Literal["output", "input"]


def apply_add_on(add_on: nn.Module, x: Tensor, channel_axis: int) -> Tensor:
    """Apply an add-on of (N, C, H, W) to a signal with its channels anywhere and one or two axes of positions.

    Of (N, T, C), a language model's, mean and deviation are those of each feature over the tokens of one sample.
    """
    moved = x.movedim(channel_axis, 1)
    y: Tensor = add_on(moved[..., None])[..., 0] if moved.ndim == 3 else add_on(moved)
    return y.movedim(1, channel_axis)


@dataclass(eq=False)
class AtJoin:
    """One place: the call of a module, counted within a call of the module that adds.

    Attributes:
        add_on: What is applied.
        channel_axis: Axis of the signal's channels.
        call: Which call of the module it is, from 1; 0 for every call.
        side: Whether the module's output or its first argument is changed.
        inside: Whether the module that adds is running.
        calls: How often the module was called since then.
    """

    add_on: nn.Module
    channel_axis: int
    call: int
    side: Side
    inside: bool = False
    calls: int = 0

    def begin(self, *_: object) -> None:
        """Note that the module that adds is called."""
        self.inside, self.calls = True, 0

    def end(self, *_: object) -> None:
        """Note that it has returned or raised."""
        self.inside = False

    def on_input(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Change the first argument, or only count the call."""
        self.calls += 1
        if self.side == "output" or not self._is_here or not args:
            return None
        return (apply_add_on(self.add_on, args[0], self.channel_axis), *args[1:])

    def on_output(self, _module: nn.Module, _args: object, output: Any) -> Any:
        """Change what the module returns."""
        if not self._is_here:
            return None
        if isinstance(output, tuple):
            return (apply_add_on(self.add_on, output[0], self.channel_axis), *output[1:])
        return apply_add_on(self.add_on, output, self.channel_axis)

    @property
    def _is_here(self) -> bool:
        return self.call == 0 or (self.inside and self.calls == self.call)


def attach(place: AtJoin, module: nn.Module, adding: nn.Module) -> None:
    """Let a place be heard at a module, which a call of another module, or its own, encloses."""
    if place.call:
        adding.register_forward_pre_hook(place.begin)
        adding.register_forward_hook(place.end, always_call=True)
        module.register_forward_pre_hook(place.on_input)
    if place.side == "output":
        module.register_forward_hook(place.on_output)
