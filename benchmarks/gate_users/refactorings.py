"""Changes of code that compute the same: they keep every weight, or draw others of the same law."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gate_users.faults.fault import Build
from benchmarks.gate_users.networks.network import Joined

# Their initialization is a function of their own, which sets what is drawn here back.
_OWN_LAW = ("norm-free ResNet", "GPT", "timm", "transformers")


class NothingToRefactorError(Exception):
    """A network has no place for a refactoring."""


@dataclass(frozen=True)
class Refactoring:
    """One kind; ``options`` are of the run."""

    kind: str
    plant: Callable[[Build], nn.Module] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    unless: tuple[str, ...] = ()


class Wrapper(nn.Module):
    """The network under another name."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.backbone = inner

    def forward(self, x: Tensor) -> Any:
        return self.backbone(x)


def _wrapped(build: Build) -> nn.Module:
    return Wrapper(build())


def _blocks_wrapped(build: Build) -> nn.Module:
    model: Any = build()
    if not isinstance(getattr(model, "blocks", None), nn.ModuleList):
        raise NothingToRefactorError
    model.blocks = nn.ModuleList(nn.Sequential(block) for block in model.blocks)
    return model


def _split(build: Build) -> nn.Module:
    model = build()
    sequences = [
        (parent, name, module)
        for parent in list(model.modules())
        for name, module in parent.named_children()
        if isinstance(module, nn.Sequential) and len(module) > 1
    ]
    for parent, name, module in sequences:
        half = len(module) // 2
        parent._modules[name] = nn.Sequential(module[:half], module[half:])
    return _if(bool(sequences), model)


def _if(applies: bool, model: nn.Module) -> nn.Module:
    if not applies:
        raise NothingToRefactorError
    return model


def _join(add: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Build], nn.Module]:
    def plant(build: Build) -> nn.Module:
        model = build()
        blocks = [module for module in model.modules() if isinstance(module, Joined)]
        for block in blocks:
            block.add = types.MethodType(_added_by(add), block)  # type: ignore[method-assign]
        return _if(bool(blocks), model)

    return plant


def _added_by(add: Callable[[Tensor, Tensor], Tensor]) -> Any:
    def joined(_block: Any, skip: Tensor, branch: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        return add(skip, branch if isinstance(scale, float) and scale == 1.0 else branch * scale)

    return joined


def _inplace(build: Build) -> nn.Module:
    model = build()
    rectifiers: list[Any] = [module for module in model.modules() if isinstance(module, (nn.ReLU, nn.LeakyReLU))]
    for rectifier in rectifiers:
        rectifier.inplace = True
    return _if(bool(rectifiers), model)


def _other_head(build: Build) -> nn.Module:
    model: Any = build()
    if not isinstance(getattr(model, "head", None), nn.Linear):
        raise NothingToRefactorError
    model.head = nn.Linear(model.head.in_features, 7)
    return model


def _unused_layer(build: Build) -> nn.Module:
    nn.Linear(7, 7)
    return build()


def _other_order(build: Build) -> nn.Module:
    model = build()
    for module in reversed(list(model.modules())):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.reset_parameters()
    return model


def _channels_last(build: Build) -> nn.Module:
    return build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _compiled(build: Build) -> nn.Module:
    return torch.compile(build(), backend="eager")  # type: ignore[return-value]


def _without_gradients(build: Build) -> nn.Module:
    with torch.no_grad():
        return build().requires_grad_(False)


def _no_dropout(build: Build) -> nn.Module:
    model = build()
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda _module, _inputs, out: nn.functional.dropout(out, 0.0))
    return _if(bool(layers), model)


KEEPS = [
    Refactoring("run again"),
    Refactoring("two threads", threads=2),
    Refactoring("batch of 4 for 8", options={"batch_size": 4}),
    Refactoring("batch of 16 for 8", options={"batch_size": 16}),
    Refactoring("two batches for one", options={"batches": 2}),
    Refactoring("the network wrapped", _wrapped),
    Refactoring("each block in a Sequential", _blocks_wrapped),
    Refactoring("each Sequential split", _split),
    Refactoring("the addition the other way round", _join(lambda skip, branch: branch + skip)),
    Refactoring("the addition as torch.add", _join(lambda skip, branch: torch.add(branch, skip, alpha=1.0))),
    # Without a normalizer in front, what stands first in a block is the skip itself.
    Refactoring("activations in place", _inplace, unless=("norm-free",)),
    # Where nothing adds, the head is a row of the table.
    Refactoring("another head", _other_head, unless=("plain", "VGG")),
    Refactoring("channels_last", _channels_last),
    Refactoring("torch.compile", _compiled),
    Refactoring("built without gradients", _without_gradients),
    Refactoring("dropout of 0", _no_dropout),
    Refactoring("a layer more is built first", _unused_layer),
    Refactoring("layers drawn in another order", _other_order, unless=_OWN_LAW),
]


def applies(refactoring: Refactoring, network: str) -> bool:
    return not any(name in network for name in refactoring.unless)
