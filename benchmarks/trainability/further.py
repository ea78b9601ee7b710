"""Further networks: other activations, initializations, joins and normalizers; frozen parts; PyTorch's own encoders."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.trainability.convolutional import convolution, head, plain
from benchmarks.trainability.data import ALPHABET
from benchmarks.trainability.dense import WIDTH, linear, mlp


class Function(nn.Module):
    """An activation that is a formula."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x)


class Detached(nn.Module):
    """A body that gets no gradient, behind its own detach, and a head that learns."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.body = plain(depth, init="he")[:-1]
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).detach())


class SilentBranches(nn.Module):
    """Dense branches that run without gradient: what is upstream learns through the skip connections alone."""

    def __init__(self, depth: int, skip: bool) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.branches = nn.ModuleList(linear(WIDTH, WIDTH, "lecun") for _ in range(depth))
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            with torch.no_grad():
                out = functional.relu(branch(x))
            x = x + out if self.skip else out
        return self.head(x)


def equal_weights(depth: int) -> nn.Sequential:
    """Return an MLP whose units all start alike: they get one gradient and stay alike."""
    model = mlp(depth)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.constant_(parameter, 1 / parameter.shape[1])
    return model


def orthogonal(depth: int, activation: type[nn.Module], gain: float) -> nn.Sequential:
    """Return an MLP of orthogonal weights."""
    model = mlp(depth, activation=activation)
    for layer in list(model)[:-1]:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain=gain)
    return model


def sparse(depth: int, sparsity: float) -> nn.Sequential:
    """Return an MLP most of whose weights are 0, the rest He's."""
    model = mlp(depth)
    for layer in list(model)[:-1]:
        if isinstance(layer, nn.Linear):
            layer.weight.data.mul_(torch.rand_like(layer.weight) > sparsity)
    return model


class Standardized(nn.Conv2d):
    """A convolution whose weights are standardized over their fan-in, for ReLU's output of unit variance."""

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True, correction=0)
        gain = (2 / (1 - 1 / torch.pi)) ** 0.5  # ReLU keeps (1 - 1/pi) / 2 of the variance
        weight = gain * (self.weight - mean) * torch.rsqrt(variance * self.weight[0].numel() + 1e-8)
        return functional.conv2d(x, weight, self.bias, padding=self.padding)


def standardized(depth: int, width: int = 8) -> nn.Sequential:
    """Return a plain network of standardized weights."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [Standardized(1 if index == 0 else width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, head(width))


class Dense(nn.Module):
    """Every layer is concatenated to what came before, with a normalizer or without."""

    def __init__(self, depth: int, norm: bool, init: str, growth: int = 4) -> None:
        super().__init__()
        widths = [8 + growth * index for index in range(depth + 1)]
        self.stem = convolution(1, 8, init)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if norm else nn.Identity() for width in widths[:-1])
        self.layers = nn.ModuleList(convolution(width, growth, init) for width in widths[:-1])
        self.head = head(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = torch.cat([x, layer(functional.relu(norm(x)))], 1)
        return self.head(x)


class Highway(nn.Module):
    """Each layer mixes its input and its output by a gate, whose bias says how much passes by."""

    def __init__(self, depth: int, bias: float) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        for gate in self.gates:
            nn.init.constant_(gate.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer, gate in zip(self.layers, self.gates, strict=True):
            carried = torch.sigmoid(gate(x))
            x = carried * torch.tanh(layer(x)) + (1 - carried) * x
        return self.head(x)


class Weighed(nn.Module):
    """Residual blocks that weigh the skip connection and the branch: ``skip`` times one, ``branch`` times the other."""

    def __init__(self, depth: int, skip: float, branch: float) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.ups = nn.ModuleList(linear(WIDTH, WIDTH, "he") for _ in range(depth))
        self.downs = nn.ModuleList(linear(WIDTH, WIDTH, "he") for _ in range(depth))
        self.skip, self.branch = skip, branch

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for up, down in zip(self.ups, self.downs, strict=True):
            x = self.skip * x + self.branch * down(functional.relu(up(functional.relu(x))))
        return self.head(x)


class SqueezeExcite(nn.Module):
    """A residual network without normalizers whose branches are scaled by what they are on average."""

    def __init__(self, depth: int, times: float, width: int = 8) -> None:
        super().__init__()
        self.stem = convolution(1, width, "lecun")
        self.convolutions = nn.ModuleList(convolution(width, width, "he") for _ in range(depth))
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, width)) for _ in range(depth)
        )
        self.head, self.times = head(width), times

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer, gate in zip(self.convolutions, self.gates, strict=True):
            out = layer(functional.relu(x))
            x = x + self.times * out * torch.sigmoid(gate(out.mean((2, 3))))[..., None, None]
        return self.head(x)


class Encoder(nn.Module):
    """PyTorch's own transformer encoder over 16 patches of 2x2 pixels."""

    def __init__(self, depth: int, norm_first: bool, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, 2)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, width))
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, norm_first=norm_first, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.encoder(x).mean(1))


class Tied(nn.Module):
    """A gated recurrent language model whose head is its embedding, of deviation ``embedding``."""

    def __init__(self, embedding: float, width: int = 32) -> None:
        super().__init__()
        self.tokens = nn.Embedding(len(ALPHABET), width)
        nn.init.normal_(self.tokens.weight, std=embedding)
        self.cell = nn.GRU(width, width, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.cell(self.tokens(tokens))[0] @ self.tokens.weight.T


class Stacked(nn.Module):
    """PyTorch's own recurrent layers, one over another, over the picture's rows."""

    def __init__(self, layers: int, nonlinearity: str = "tanh", gain: float | None = None, width: int = 32) -> None:
        super().__init__()
        self.cell = nn.RNN(8, width, layers, nonlinearity=nonlinearity, batch_first=True)
        self.head = nn.Linear(width, 10)
        if gain is not None:
            for layer in range(layers):
                nn.init.eye_(getattr(self.cell, f"weight_hh_l{layer}")).data.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.reshape(len(x), 8, 8))[0][:, -1])


class Forgetful(nn.Module):
    """An LSTM over 32 pairs of pixels; ``bias`` opens or shuts its forget gate."""

    def __init__(self, bias: float, width: int = 32) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(2, width, batch_first=True), nn.Linear(width, 10)
        with torch.no_grad():
            self.cell.bias_hh_l0[width : 2 * width] = bias

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.reshape(len(x), 32, 2))[0][:, -1])
