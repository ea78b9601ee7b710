"""A network whose forward pass does what it should not, and everything that a pass could change, to the bit."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sppkit import Site


class Net(nn.Module):
    """A stem and one residual block; ``act`` is what its forward pass does beside, ``raises`` whether it then fails."""

    def __init__(self, act: Callable[[Net], object] | None = None, *, raises: bool = False) -> None:
        super().__init__()
        self.stem, self.branch, self.output = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Identity()
        self.idle = nn.Identity()
        self.register_buffer("empty", None)
        self.register_buffer("values", torch.tensor([1.0, -0.0, torch.nan, torch.inf]))
        self.register_buffer("transient", torch.zeros(3), persistent=False)
        self.register_buffer("expanded", torch.ones(1).expand(3))
        self.register_buffer("sparse", torch.eye(2).to_sparse())
        with torch.inference_mode():
            self.register_buffer("inference", torch.zeros(2))
        self.act, self.raises = act, raises

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.act is not None:
            self.act(self)
        if self.raises:
            raise RuntimeError("planted failure")
        return self.output(x + self.branch(x))

    def signal_sites(self) -> list[Site]:
        return [STEM, BRANCH, OUTPUT]


STEM = Site(0, 0, "stem", "block_output", "stem")
BRANCH = Site(1, 1, "block", "residual_branch", "branch")
OUTPUT = Site(1, 1, "block", "block_output", "output")


def batch(samples: int = 2) -> Tensor:
    return torch.randn(samples, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def bits(tensor: Tensor | None) -> object:
    if tensor is None:
        return None
    if tensor.layout is torch.strided and tensor.untyped_storage().nbytes() == 0:
        return "freed"  # reading it would crash
    dense = tensor.detach().to_dense() if tensor.layout is torch.sparse_coo else tensor.detach()
    # A copy, because memory that NumPy has seen can't be resized any more.
    raw = dense.cpu().clone().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    where = () if tensor.layout is torch.sparse_coo else (tensor.stride(), tensor.untyped_storage().nbytes())
    return id(tensor), tensor.device, tensor.dtype, tensor.shape, where, raw


def state(model: nn.Module) -> list[object]:
    """Everything of a model and of the random states that a forward pass could change, to the bit."""
    modules = [
        (
            [(name, bits(tensor)) for name, tensor in [*module._parameters.items(), *module._buffers.items()]],
            [(name, id(child)) for name, child in module._modules.items()],
            (set(module._non_persistent_buffers_set), module.training),
            (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._forward_hooks_always_called)),
        )
        for module in model.modules()
    ]
    parameters = [(bits(p.grad), p.requires_grad) for p in model.parameters()]
    numpy_state = np.random.get_state()
    rng = (torch.get_rng_state().tolist(), numpy_state[1].tolist(), numpy_state[2:], random.getstate())
    return [modules, parameters, rng, torch.is_grad_enabled(), torch.is_inference_mode_enabled()]


def change_inference_buffer(net: Net) -> None:
    with torch.inference_mode():
        net.inference.add_(1)


def go_backward(net: Net) -> None:
    with torch.enable_grad():
        sum(p.sum() for p in net.parameters()).backward()


ACTS = {
    "buffer set from None": lambda net: setattr(net, "empty", torch.ones(2)),
    "buffer set to None": lambda net: setattr(net, "values", None),
    "buffer registered": lambda net: net.register_buffer("late", torch.ones(1)),
    "transient buffer registered": lambda net: net.register_buffer("late", torch.ones(1), persistent=False),
    "buffer replaced": lambda net: setattr(net, "transient", torch.ones(7)),
    "buffer deleted": lambda net: delattr(net, "values"),
    "buffer changed in place": lambda net: net.values.zero_(),
    "sign of zero": lambda net: net.values.abs_(),
    "buffer changed through data": lambda net: net.values.data.zero_(),
    "buffer's data replaced": lambda net: setattr(net.values, "data", torch.zeros(2)),
    "buffer grown": lambda net: net.values.resize_(1000).zero_(),
    "buffer shrunk": lambda net: net.values.resize_(1).zero_(),
    "buffer's memory freed": lambda net: net.values.untyped_storage().resize_(0),
    "buffer transposed": lambda net: net.values.resize_(2, 2).t_(),
    "expanded buffer": lambda net: net.expanded[0].zero_(),
    "sparse buffer": lambda net: net.sparse.mul_(2),
    "inference buffer": change_inference_buffer,
    "parameter replaced": lambda net: setattr(net.stem, "weight", nn.Parameter(torch.zeros(4, 3, 1, 1))),
    "parameter registered": lambda net: net.register_parameter("late", nn.Parameter(torch.ones(1))),
    "parameter deleted": lambda net: delattr(net.stem, "bias"),
    "parameter's data replaced": lambda net: setattr(net.stem.weight, "data", torch.zeros(4, 3, 1, 1)),
    "parameter frozen": lambda net: net.stem.weight.requires_grad_(False),
    "module registered": lambda net: net.add_module("late", nn.Linear(1, 1)),
    "module replaced": lambda net: setattr(net, "idle", nn.Identity()),
    "module deleted": lambda net: delattr(net, "idle"),
    "gradients": go_backward,
    "gradient set": lambda net: setattr(net.stem.weight, "grad", torch.ones(4, 3, 1, 1)),
    "gradient dropped": lambda net: net.zero_grad(),
    "flag of a child": lambda net: net.stem.eval(),
    "torch draws": lambda net: torch.rand(1),
    "numpy draws": lambda net: np.random.rand(),
    "python draws": lambda net: random.random(),
}


def with_gradients(net: Net) -> Net:
    net.branch.weight.grad = torch.full((4, 4, 1, 1), torch.nan)
    net.stem.weight.grad = torch.ones(4, 3, 1, 1)
    return net
