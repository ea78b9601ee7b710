"""One operation of an observed forward pass, with what theory knows of its operands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sppkit.lowering.values import Given, NotKnownError, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch._ops import OpOverload

    from sppkit.lowering.values import Value


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: Without overload, and without the underscore of its in-place form.
        function: Torch's own.
        args: Its arguments by position.
        kwargs: Its arguments by name.
        result: What it returned.
        find: Returns what is known of a tensor.
    """

    name: str
    function: OpOverload
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    result: Any
    find: Callable[[Tensor], Value | None]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument, given by position, by name, or not at all."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default)

    def value(self, position: int) -> Value | None:
        """Return what is known of an argument: None for what comes from no input, and for what is no tensor."""
        argument = self.args[position] if len(self.args) > position else None
        return self.find(argument) if isinstance(argument, Tensor) else None

    def signal(self, position: int) -> Signal:
        """Return an argument that has to be a signal."""
        value = self.value(position)
        if not isinstance(value, Signal):
            raise NotKnownError("of such operands")
        return value

    def plain(self, position: int) -> bool:
        """Say whether an argument is known: a number, or a tensor that has its values from no random weights."""
        value = self.value(position)
        return value is None or isinstance(value, Given)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what it returned first."""
        result = self.result[0] if isinstance(self.result, (tuple, list)) else self.result
        return tuple(result.shape)
