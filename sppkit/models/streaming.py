"""Running a network whose weights never are in memory together: each part is given its weights when its turn comes.

Works on any module that was laid out on the meta device, because weights are keyed by their names: a part drawn alone
gets the numbers that it has in the whole network. The architectures don't know about it.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sppkit.machine.allocator import give_blocks_back
from sppkit.models.initialize import allocate_buffers, draw_weights, reset_constants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    RunBlocks = Callable[[Tensor, Iterable[nn.Module]], Tensor]

# Blocks and segments that stand side by side: at most so many inputs are held on each level.
_SEGMENTS = 16
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


@contextmanager
def streamed(
    model: nn.Module, seed: int, device: torch.device, dtype: torch.dtype, *, differentiated: bool = False
) -> Iterator[None]:
    """While the context is open, let every part of a model be materialized before it runs and emptied after it.

    Buffers (running statistics) are allocated once and kept: they carry what one batch leaves to the next. Where the
    model is to be differentiated, a part keeps its input alone, and runs again when a gradient comes back to it. A
    segment of many blocks does, too: what is held grows with the logarithm of the depth, and so does the number of
    times that a block runs (Chen et al. 2016, arXiv:1604.06174).
    """
    give_blocks_back(small=differentiated)
    _allocate_buffers(model)
    stream = _Stream(seed, device, dtype, differentiated)
    handles = []
    for path, part in _iter_parts(model):
        if differentiated:
            part.forward = stream.recomputing(part, path)
        else:
            handles.append(part.register_forward_pre_hook(stream.loader(path)))
            handles.append(part.register_forward_hook(stream.unload))
    if differentiated and hasattr(model, "run_blocks"):
        whole: Any = model
        whole.run_blocks = stream.in_segments(whole.run_blocks)
    try:
        yield
    finally:
        model.__dict__.pop("run_blocks", None)
        for handle in handles:
            handle.remove()
        for _, part in _iter_parts(model):
            part.__dict__.pop("forward", None)
        # A forward pass that failed has left its last part loaded.
        stream.unload(model, None, None)


def most_held(blocks: int) -> int:
    """Return how many inputs of blocks are held at a time for the way back."""
    levels = 1
    while blocks > _SEGMENTS:
        blocks, levels = -(-blocks // _SEGMENTS), levels + 1
    return _SEGMENTS * levels


@dataclass
class _Stream:
    """Fills the parts' weights from streams of numbers into memory that the part before has given back.

    Attributes:
        seed: Seed of the weights.
        device: Where the parts run.
        dtype: Type that weights are cast to.
        differentiated: Whether a gradient is to come back through the weights.
        spare: Float32 memory on the CPU by shape. Neighbouring blocks have the same shapes, so nothing is allocated
            from one to the next; with fresh memory for each, the heap would fill up with holes.
        empty: What stands for the weights of the part that is loaded while it is not: (module, name, parameter).
    """

    seed: int
    device: torch.device
    dtype: torch.dtype
    differentiated: bool = False
    spare: dict[torch.Size, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    empty: list[tuple[nn.Module, str, nn.Parameter]] = field(default_factory=list)

    def loader(self, path: str) -> Callable[[nn.Module, object], None]:
        return lambda part, _inputs: self.load(part, path)

    def load(self, part: nn.Module, path: str) -> None:
        for module in part.modules():
            for name, parameter in module.named_parameters(recurse=False):
                memory = self.spare[parameter.shape]
                value = memory.pop() if memory else torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
                self.empty.append((module, name, parameter))
                setattr(module, name, nn.Parameter(value, requires_grad=self.differentiated))
        # What was not taken has the shapes of another stage.
        self.spare.clear()
        with _buffers_kept(part):
            for module in part.modules():
                reset_constants(module)
        with torch.no_grad():
            draw_weights(part, self.seed, prefix=path)
            part.to(self.device, self.dtype)

    def recomputing(self, part: nn.Module, path: str) -> Callable[..., object]:
        """Return a part's forward pass, of which autograd keeps the input alone."""
        run = part.forward

        def loaded(*inputs: object) -> object:
            self.load(part, path)
            try:
                return run(*inputs)
            finally:  # as soon as all is there that the gradient asks for, the part is left by an exception
                self.unload(part, None, None)

        return lambda *inputs: _recomputed(loaded, [part], *inputs)

    def in_segments(self, run: RunBlocks) -> RunBlocks:
        """Return what runs blocks in segments, of which autograd keeps the inputs alone."""

        def run_segments(x: Tensor, blocks: Iterable[nn.Module]) -> Tensor:
            remaining = list(blocks)
            if len(remaining) <= _SEGMENTS:
                return run(x, remaining)
            size = -(-len(remaining) // _SEGMENTS)
            for start in range(0, len(remaining), size):
                segment = remaining[start : start + size]
                x = _recomputed(partial(run_segments, blocks=segment), segment, x)
            return x

        return run_segments

    def unload(self, _part: nn.Module, _inputs: object, _output: object) -> None:
        for module, name, parameter in self.empty:
            loaded = getattr(module, name)
            if loaded.device.type == "cpu" and loaded.dtype == torch.float32:
                self.spare[loaded.shape].append(loaded.detach())
            setattr(module, name, parameter)
        self.empty.clear()


def _recomputed(run: Callable[..., Any], parts: Iterable[nn.Module], *inputs: object) -> Any:
    """Run something of which autograd keeps the inputs alone, and which runs again when a gradient comes back to it."""
    parts = list(parts)
    buffers: list[tuple[Tensor, Tensor]] = []

    def run_again(*given: object) -> Any:
        # The second time, running statistics are those of the first, and stay what they have become.
        now = [(buffer, buffer.clone()) for part in parts for buffer in part.buffers()]
        _restore(buffers)
        buffers.extend([] if buffers else now)
        recomputes = torch._C._current_graph_task_id() != -1  # noqa: SLF001 - no public name for it
        try:
            return run(*given)
        finally:
            if recomputes:
                _restore(now)

    return checkpoint(run_again, *inputs, use_reentrant=False)


def _iter_parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the outermost modules that are called: children, with lists and sequences opened."""
    for name, child in module.named_children():
        if isinstance(child, _CONTAINERS):
            yield from _iter_parts(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _allocate_buffers(model: nn.Module) -> None:
    for module in model.modules():
        allocate_buffers(module)
        if next(module.buffers(recurse=False), None) is not None:
            reset_constants(module)


def _restore(buffers: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)


@contextmanager
def _buffers_kept(part: nn.Module) -> Iterator[None]:
    """Undo what resetting a normalizer's constants does to its running statistics."""
    saved = [(buffer, buffer.clone()) for buffer in part.buffers()]
    yield
    _restore(saved)
