"""One batch said in full: the arguments of the call, and which method is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._pytree import tree_map_only  # what torch.func and torch.compile read nested arguments with

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Call:
    """One batch: the network is called as ``model(*arguments, **keywords)``, or a method of it is.

    For networks that take several positional arguments, a list of pictures as one batch, or that run in a method:
    ``Call(picture, text)``, ``Call([first, second])``, ``Call((x, y), 0, method="training_step")``.

    Attributes:
        arguments: Positional arguments; tensors anywhere in lists, tuples and mappings are moved to the device.
        keywords: Arguments by name.
        method: Name of the method to call, ``forward`` for the network itself.

    Raises:
        UsageError: If there are no arguments at all, or the method's name is no name.

    >>> import torch
    >>> Call(torch.ones(2, 3), scale=2.0).method
    'forward'
    """

    def __init__(self, *arguments: Any, method: str = "forward", **keywords: Any) -> None:
        if not (arguments or keywords):
            raise UsageError("a Call needs the arguments that the network is called with: Call(x), or Call(x, mask=m).")
        if not str(method).isidentifier():
            raise UsageError(f"method must be the name of a method of the network, not {method!r:.60}.")
        self.arguments = arguments
        self.keywords: Mapping[str, Any] = keywords
        self.method = method

    @classmethod
    def by_name(cls, keywords: Mapping[str, Any]) -> Call:
        """Return a call with arguments by name, be one of them called ``method``."""
        call = cls(None)
        call.arguments, call.keywords = (), keywords
        return call

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Call:
        """Return the same call with a function of every tensor in its place."""
        call = Call(None, method=self.method)
        call.arguments, call.keywords = tree_map_only(Tensor, function, (self.arguments, dict(self.keywords)))
        return call
