"""The networks: every kind at several depths and strengths, across the edge of what trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.trainability import convolutional as conv
from benchmarks.trainability import dense, fresh, further, lost, sequences


@dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
        name: Its kind and how strong or deep it is.
        kind: What may be wrong with it, or what kind of sound network it is.
        data: ``image``, ``flat`` or ``text``.
        make: The factory, which draws from torch's own stream.
    """

    name: str
    kind: str
    data: str
    make: Callable[[], nn.Module]

    def build(self, seed: int) -> nn.Module:
        """Return the network of a seed."""
        torch.manual_seed(seed)
        return self.make()


@cache
def cases() -> tuple[Case, ...]:
    """Return every case; names are unique."""
    return tuple(Case(f"{kind}-{value}", kind, data, make) for kind, data, value, make in _iter_cases())


def is_fitted(case: Case) -> bool:
    """Return whether limits may be fitted to a case: to every other kind; the rest is for the proof."""
    kinds = tuple(dict.fromkeys(each.kind for each in cases()))
    return kinds.index(case.kind) % 2 == 0 and not is_fresh(case)


def is_fresh(case: Case) -> bool:
    """Return whether a case was written after all limits had been fixed."""
    return case.kind.startswith("fresh-")


def find_case(name: str) -> Case:
    """Return a case by its name."""
    return next(case for case in cases() if case.name == name)


_Row = tuple[str, str, object, Callable[[], nn.Module]]


def _iter_cases() -> Iterator[_Row]:
    yield from _iter_plain()
    yield from _iter_residual()
    yield from _iter_dense()
    yield from _iter_sequences()
    yield from _iter_further_pictures()
    yield from _iter_further_dense()
    yield from _iter_further_recurrent()
    yield from fresh.iter_fresh()
    yield from lost.iter_lost()


def _each(kind: str, data: str, values: tuple[object, ...], make: Callable[..., nn.Module]) -> Iterator[_Row]:
    for value in values:
        yield kind, data, value, lambda value=value: make(value)


def _iter_plain() -> Iterator[_Row]:
    yield from _each("plain-default", "image", (2, 4, 8, 12, 20, 28, 40), lambda n: conv.plain(n))
    yield from _each("plain-he", "image", (4, 10, 20, 30, 50), lambda n: conv.plain(n, init="he"))
    yield from _each("plain-xavier", "image", (4, 10, 20, 35), lambda n: conv.plain(n, init="xavier"))
    batch_norm = nn.BatchNorm2d
    yield from _each("plain-bn", "image", (4, 10, 20, 30, 45), lambda n: conv.plain(n, norm=batch_norm))
    yield from _each(
        "plain-gain", "image", (0.1, 0.3, 0.6, 1.5, 2.5, 4.0, 6.0), lambda g: conv.plain(10, init="he", gain=g)
    )
    yield from _each(
        "plain-negative-bias", "image", (0.3, 0.6, 1.0, 3.0, 10.0), lambda b: conv.plain(5, init="he", bias=-b)
    )
    yield from _each(
        "plain-positive-bias", "image", (0.3, 3.0, 30.0, 300.0), lambda b: conv.plain(5, init="he", bias=b)
    )
    yield from _each("plain-sigmoid", "image", (2, 4, 8, 12), lambda n: conv.plain(n, activation=nn.Sigmoid))
    yield from _each("plain-tanh-default", "image", (3, 8, 20, 32), lambda n: conv.plain(n, activation=nn.Tanh))
    yield from _each("plain-normal-weights", "image", (2, 5, 8, 12, 20), lambda n: conv.plain(n, init="normal"))
    yield from _each("plain-zero-weights", "image", (2, 5), lambda n: conv.plain(n, init="zero"))


def _iter_residual() -> Iterator[_Row]:
    yield from _each("resnet-bn", "image", (3, 8, 20), lambda n: conv.ResNet(n))
    yield from _each("resnet-pre-bn", "image", (3, 8, 20), lambda n: conv.ResNet(n, order="pre"))
    yield from _each("resnet-default", "image", (3, 8, 20), lambda n: conv.ResNet(n, norm=False))
    yield from _each("resnet-he", "image", (3, 8, 16, 25, 40), lambda n: conv.ResNet(n, norm=False, init="he"))
    yield from _each(
        "resnet-pre-he-no-final", "image", (4, 12, 30), lambda n: conv.ResNet(n, order="pre", norm=False, init="he")
    )
    yield from _each(
        "resnet-pre-bn-no-final", "image", (4, 16), lambda n: conv.ResNet(n, order="pre", init="he", final=False)
    )
    yield from _each("alpha-default", "image", (0.1, 0.5), lambda a: _bare(8, a, "default"))
    yield from _each("alpha-he", "image", (0.1, 0.3, 1.0, 2.0, 5.0, 10.0), lambda a: _bare(12, a, "he"))
    yield from _each("zero-last", "image", (4, 16), lambda n: _bare(n, 1.0, "he", last="zero"))
    yield from _each("rezero", "image", (4, 16), lambda n: conv.Scaled(n, 0.0))
    yield from _each("zero-gamma", "image", (4, 16), lambda n: conv.Scaled(n, 0.0, norm=True))
    yield from _each("large-gamma", "image", (10.0, 1000.0, 1e5), lambda g: conv.Scaled(8, g, norm=True))
    yield from _each("convnext", "image", (1e-6, 1.0), lambda s: conv.convnext(4, s))
    for arch in ("bn-relu-conv", "relu-bn-conv", "nf-resnet", "he-resnet", "skipinit", "fixup"):
        yield from _each(arch, "image", (2, 5), lambda n, arch=arch: conv.Named(arch, (n, n)))
    yield from _each("he-resnet-deep", "image", (12, 25), lambda n: conv.Named("he-resnet", (n, n)))
    yield from _each("nf-resnet-alpha1", "image", (4,), lambda n: conv.Named("nf-resnet", (n, n), alpha=1.0))


def _bare(depth: int, scale: float, init: str, last: str | None = None) -> nn.Module:
    return conv.ResNet(depth, order="bare", norm=False, init=init, scale=scale, last=last)


def _iter_dense() -> Iterator[_Row]:
    yield from _each("mlp-default", "flat", (2, 4, 8, 16, 30), lambda n: dense.mlp(n, init="default"))
    yield from _each("mlp-he", "flat", (3, 10, 30, 60, 100, 150, 200), lambda n: dense.mlp(n))
    yield from _each("mlp-tanh-gain", "flat", (0.3, 0.5, 0.9, 1.2, 2.0, 4.0, 8.0), _tanh(20))
    yield from _each("mlp-tanh-shallow", "flat", (1.0, 4.0, 20.0, 100.0, 1000.0), _tanh(3))
    yield from _each(
        "mlp-sigmoid", "flat", (2, 4, 8, 12, 20), lambda n: dense.mlp(n, init="xavier", activation=nn.Sigmoid)
    )
    yield from _each("mlp-selu", "flat", (4, 12, 30, 80), lambda n: dense.mlp(n, init="lecun", activation=nn.SELU))
    yield from _each(
        "mlp-gelu-default", "flat", (3, 10, 20, 40), lambda n: dense.mlp(n, init="default", activation=nn.GELU)
    )
    yield from _each(
        "mlp-silu-lecun", "flat", (4, 20, 40, 80), lambda n: dense.mlp(n, init="lecun", activation=nn.SiLU)
    )
    yield from _each("mlp-identity", "flat", (5, 20), lambda n: dense.mlp(n, init="lecun", activation=nn.Identity))
    yield from _each(
        "mlp-shifted-relu", "flat", (0.3, 1.0, 5.0, 30.0, 200.0), lambda c: dense.mlp(10, activation=_shifted(c))
    )
    yield from _each("mlp-random-bias", "flat", (0.3, 3.0, 30.0, 300.0, 3000.0), lambda b: dense.mlp(6, bias=b))
    yield from _each("mlp-weights-mean", "flat", (0.5, 2.0, 4.0, 8.0, 16.0), lambda m: dense.mlp(8, weights_mean=m))
    yield from _each("mlp-narrow", "flat", (1, 2, 4, 12), lambda k: dense.mlp(5, narrowest=k))
    yield from _each("mlp-normal-weights", "flat", (2, 3, 4, 8, 16), lambda n: dense.mlp(n, init="normal"))
    yield from _each("mlp-dropout", "flat", (0.2, 0.9, 0.98), lambda p: dense.mlp(4, dropout=p))
    yield from _each("mlp-softmax-units", "flat", (1, 3, 6, 10), lambda n: dense.mlp(n, activation=_softmax))
    yield from _each("mlp-batch-norm", "flat", (5, 20, 40, 60, 80), lambda n: dense.mlp(n, norm=nn.BatchNorm1d))
    yield from _each("mlp-layer-norm", "flat", (5, 20, 50, 80), lambda n: dense.mlp(n, norm=nn.LayerNorm))
    for norm in ("pre", "post", "branch"):
        yield from _each(f"mlp-{norm}-norm", "flat", (4, 16), lambda n, norm=norm: dense.residual_mlp(n, norm))
    yield from _each("mlp-residual-he", "flat", (4, 12, 20, 40, 80), lambda n: dense.residual_mlp(n, "none"))
    yield from _each("mixer", "image", (2, 6), lambda n: dense.Mixer(n))
    yield from _each("mixer-no-skip", "image", (2, 6, 12, 24, 40), lambda n: dense.Mixer(n, skip=False))
    yield from _each("recurrent", "flat", (0.3, 1.0, 2.0, 6.0, 20.0), lambda g: dense.Recurrent(g))
    yield from _each("recurrent-long", "flat", (0.7, 1.0, 3.0, 8.0), lambda g: dense.Recurrent(g, repeats=6))
    yield from _each("gated", "flat", ("lstm", "gru"), lambda n: dense.Gated({"lstm": nn.LSTM, "gru": nn.GRU}[n], 1))


def _tanh(depth: int) -> Callable[[float], nn.Module]:
    return lambda gain: dense.mlp(depth, init="lecun", gain=gain, activation=nn.Tanh)


def _shifted(constant: float) -> Callable[[], nn.Module]:
    return lambda: dense.Shifted(constant)


def _softmax() -> nn.Module:
    return nn.Softmax(dim=-1)


def _iter_sequences() -> Iterator[_Row]:
    language, vision = sequences.Language, sequences.Vision
    yield from _each("gpt-pre", "text", (1, 4, 12), lambda n: language(n))
    yield from _each("gpt-post", "text", (2, 6, 16), lambda n: language(n, "post", embedding=1.0))
    yield from _each("gpt-branch-norm", "text", (2, 8), lambda n: language(n, "branch"))
    yield from _each("gpt-no-skip", "text", (2, 4, 8, 12), lambda n: language(n, skip=False))
    yield from _each("gpt-no-norm", "text", (2, 6), lambda n: language(n, "none", final=False, embedding=1.0))
    yield from _each("gpt-no-norm-he", "text", (2, 6, 10, 16), lambda n: language(n, "none", final=False, init="he"))
    yield from _each("gpt-normal-weights", "text", (1, 4, 10), lambda n: language(n, init="normal", embedding=1.0))
    yield from _each("gpt-embedding", "text", (1e-4, 1.0, 30.0, 1000.0), lambda e: language(3, embedding=e))
    yield from _each("gpt-scale", "text", (0.1, 10.0), lambda s: language(6, scale=s))
    yield from _each("vit-pre", "image", (2, 6), lambda n: vision(n))
    yield from _each("vit-post", "image", (2, 6, 16), lambda n: vision(n, "post"))
    yield from _each("vit-post-he", "image", (4, 8, 12), lambda n: vision(n, "post", init="he"))
    yield from _each("vit-no-skip", "image", (2, 5, 10, 15), lambda n: vision(n, skip=False))
    yield from _each("vit-sharp", "image", (10.0, 1000.0), lambda s: vision(4, sharpness=s, init="lecun"))
    yield from _each("vit-normal-weights", "image", (1, 3, 6, 12), lambda n: vision(n, init="normal"))
    yield from _each("vit-no-norm", "image", (4, 8, 12), lambda n: vision(n, "none", init="he"))


def _iter_further_pictures() -> Iterator[_Row]:
    def group_norm(width: int) -> nn.Module:
        return nn.GroupNorm(2, width)

    def leaky() -> nn.Module:
        return nn.LeakyReLU(0.3)

    yield from _each("plain-group-norm", "image", (10, 30), lambda n: conv.plain(n, norm=group_norm))
    yield from _each("plain-instance-norm", "image", (5, 20), lambda n: conv.plain(n, norm=nn.InstanceNorm2d))
    yield from _each("plain-standardized", "image", (10, 30), lambda n: further.standardized(n))
    yield from _each("plain-leaky", "image", (10, 30), lambda n: conv.plain(n, init="he", activation=leaky))
    yield from _each("plain-elu", "image", (10, 25), lambda n: conv.plain(n, init="lecun", activation=nn.ELU))
    yield from _each("plain-narrow", "image", (1, 2, 4), lambda width: conv.plain(6, init="he", width=width))
    yield from _each("detached-body", "image", (2, 10, 25, 35), lambda n: further.Detached(n))
    yield from _each("concatenated", "image", (3, 10), lambda n: further.Dense(n, False, "he"))
    yield from _each("concatenated-bn", "image", (10,), lambda n: further.Dense(n, True, "default"))
    yield from _each("concatenated-normal-weights", "image", (2, 4, 6, 10), lambda n: further.Dense(n, False, "normal"))
    yield from _each("squeeze-excite", "image", (4, 20), lambda n: further.SqueezeExcite(n, 2.0))
    yield from _each(
        "squeeze-excite-times", "image", (0.1, 5.0, 20.0, 100.0), lambda times: further.SqueezeExcite(8, times)
    )
    yield from _each("encoder-pre", "image", (2, 8), lambda n: further.Encoder(n, norm_first=True))
    yield from _each("encoder-post", "image", (2, 6, 12), lambda n: further.Encoder(n, norm_first=False))


def _iter_further_dense() -> Iterator[_Row]:
    def formula(kind: str, values: tuple[int, ...], function: Callable[[Tensor], Tensor]) -> Iterator[_Row]:
        unit = partial(further.Function, function)
        return _each(kind, "flat", values, lambda n: dense.mlp(n, init="lecun", activation=unit))

    yield from _each("no-grad-branches", "flat", (4, 10, 20), lambda n: further.SilentBranches(n, skip=True))
    yield from _each("no-grad-layers", "flat", (3, 7, 12, 25), lambda n: further.SilentBranches(n, skip=False))
    yield from _each("mlp-equal-weights", "flat", (1, 3, 6), lambda n: further.equal_weights(n))
    yield from _each("mlp-orthogonal-tanh", "flat", (20, 60), lambda n: further.orthogonal(n, nn.Tanh, 1.0))
    yield from _each("mlp-orthogonal-relu", "flat", (20, 50, 90), lambda n: further.orthogonal(n, nn.ReLU, 2**0.5))
    yield from _each("mlp-sparse", "flat", (0.5, 0.9, 0.96, 0.99), lambda share: further.sparse(5, share))
    yield from formula("mlp-tanhshrink", (1, 2, 4, 8), functional.tanhshrink)
    yield from formula("mlp-hardshrink", (2, 6, 12), partial(functional.hardshrink, lambd=1.0))
    yield from formula("mlp-square", (1, 2, 3, 4, 6), torch.square)
    yield from formula("mlp-sine", (3, 20, 60), torch.sin)
    yield from formula("mlp-fast-sine", (1, 2, 5), lambda x: torch.sin(30 * x))
    yield from formula("mlp-softplus", (3, 10, 20, 30, 50), functional.softplus)
    yield from formula("mlp-softsign", (5, 25, 50), functional.softsign)
    yield from formula("mlp-mish", (5, 15, 25, 50), functional.mish)
    yield from formula("mlp-hard-tanh", (5, 25, 60), functional.hardtanh)
    gate = {"shut": -3.0, "half-open": 0.0, "open": 3.0}
    yield from _each("highway", "flat", tuple(gate), lambda name: further.Highway(15, gate[name]))
    yield from _each("skip-over-root-2", "flat", (10, 40), lambda n: further.Weighed(n, 0.5**0.5, 0.5**0.5))
    yield from _each("skip-halved", "flat", (10, 20, 30, 60), lambda n: further.Weighed(n, 0.5, 0.5))
    yield from _each("branch-over-root-depth", "flat", (12, 40), lambda n: further.Weighed(n, 1.0, n**-0.5))


def _iter_further_recurrent() -> Iterator[_Row]:
    yield from _each("rnn-layers", "flat", (1, 4, 10, 16), lambda n: further.Stacked(n))
    yield from _each("rnn-relu", "flat", (0.5, 1.0, 1.5, 4.0, 8.0), lambda gain: further.Stacked(1, "relu", gain))
    forget = {"forgets": -10.0, "half-forgets": 0.0, "remembers": 5.0}
    yield from _each("lstm", "flat", tuple(forget), lambda name: further.Forgetful(forget[name]))
    yield from _each("gru-tied", "text", (0.02, 1.0, 10.0, 100.0), lambda embedding: further.Tied(embedding))
