"""Which memory holds which value: what tells a tensor that was changed in place, or a view, from what it was before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch.multiprocessing.reductions import StorageWeakRef

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from sppkit.joins.graph import Node

    # Makes the value that a view shows, from the value of the whole memory.
    MakeView = Callable[[Node, Tensor], Node]
    # Makes the value of a whole memory, from what it was and what a part of it was changed to.
    MakeState = Callable[[Node, Node], Node]

_Geometry = tuple[object, ...]


@dataclass(slots=True)
class _Block:
    """The values in one piece of memory.

    Attributes:
        reference: Keeps the address from being given to other memory while this entry is there; not the memory itself.
        state: The value of the whole memory.
        views: The value at each offset, shape and stride, since the last change.
    """

    reference: StorageWeakRef
    state: Node
    views: dict[_Geometry, Node] = field(default_factory=dict)


class Memory:
    """The signals that are in memory, by address and geometry; the tensors themselves are not kept alive."""

    def __init__(self, make_view: MakeView, make_state: MakeState) -> None:
        self._blocks: dict[int, _Block] = {}
        self._make_view = make_view
        self._make_state = make_state

    def find(self, tensor: Tensor) -> Node | None:
        """Return the value that a tensor holds now."""
        block = self._blocks.get(_address(tensor))
        if block is None:
            return None
        geometry = _geometry(tensor)
        node = block.views.get(geometry)
        if node is None:
            node = block.views[geometry] = self._make_view(block.state, tensor)
        return node

    def holds(self, tensor: Tensor) -> bool:
        """Return whether a tensor's memory holds a signal, in whatever part of it."""
        return _address(tensor) in self._blocks

    def known(self, tensor: Tensor) -> Node | None:
        """Return the value of exactly this geometry, if one is known since the last change."""
        block = self._blocks.get(_address(tensor))
        return None if block is None else block.views.get(_geometry(tensor))

    def show(self, tensor: Tensor, node: Node) -> None:
        """Note a new value: that of fresh memory, or of another view of memory that is known."""
        address = _address(tensor)
        block = self._blocks.get(address)
        if block is None:
            block = self._blocks[address] = _Block(_refer_to(tensor), node)
        block.views[_geometry(tensor)] = node

    def change(self, tensor: Tensor, node: Node) -> None:
        """Note that a tensor was changed in place; every other view of its memory is to be looked at anew."""
        address = _address(tensor)
        block = self._blocks.get(address)
        whole = block is None or block.views.get(_geometry(tensor)) is block.state
        if block is None or whole or is_whole(tensor):
            self._blocks[address] = _Block(_refer_to(tensor), node)
        else:
            block.state = self._make_state(block.state, node)
            block.views.clear()
        self._blocks[address].views[_geometry(tensor)] = node

    def forget(self, tensor: Tensor) -> None:
        """Note that a tensor was overwritten by what is no signal."""
        if is_whole(tensor):
            self._blocks.pop(_address(tensor), None)


def is_whole(tensor: Tensor) -> bool:
    """Return whether a tensor fills its memory."""
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _refer_to(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _address(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - stays that of this memory while referred to
    except NotImplementedError:  # a sparse tensor, or one that only stands for others
        return 0


def _geometry(tensor: Tensor) -> _Geometry:
    return tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def check_observable(tensor: Tensor) -> None:
    """Check that a signal is an ordinary tensor with values."""
    if tensor.is_nested:
        raise UsageError(
            "the model makes nested tensors, which have no one shape: pad what goes into it to one length."
        )
    kind = type(tensor).__name__
    if kind == "DTensor":
        raise UsageError("the model is sharded (its signals are DTensors): measure the whole model on one device.")
    if kind == "FakeTensor" or tensor.is_meta:
        raise UsageError("the model runs on the meta device: its signals have shapes but no values to measure.")
    if tensor.is_quantized:
        raise UsageError("the model is quantized: measure the floating-point model that it was made from.")
