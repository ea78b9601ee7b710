"""Attention and bounded activations are heard as operations, however a network writes them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import sppkit
from sppkit.measuring.operations import SLOPES

NAMES = ["attention_entropy", "attention_logit_max"]
WIDTH, HEADS, TOKENS = 16, 2, 6


def fused(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def masked_by_bool(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    allowed = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed.tril() if causal else allowed)


def masked_by_sum(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    mask = torch.zeros(q.shape[-2], k.shape[-2], dtype=q.dtype)
    hidden = torch.ones_like(mask, dtype=torch.bool).triu(1)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask.masked_fill(hidden & causal, -math.inf))


def shared_keys(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    k, v = k[:, :1], v[:, :1]
    return functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)


def written(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    logits = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if causal:
        logits = logits.masked_fill(torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1), -1e9)
    return functional.dropout(logits.softmax(-1), 0.1, training=True) @ v


def summed(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    logits = torch.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    if causal:
        logits = logits + torch.full(logits.shape[-2:], -math.inf, dtype=q.dtype).triu(1)
    return torch.einsum("bhqk,bhkd->bhqd", logits.softmax(-1), v)


class Network(nn.Module):
    """A block of attention with a skip connection, and a softmax that is none."""

    def __init__(self, attend: Callable[..., Tensor], *, causal: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.qkv, self.out = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.attend, self.causal = attend, causal
        self.qkv.weight.data.mul_(3)

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.out(self.attend(*self.parts(x), self.causal).transpose(1, 2).flatten(2))
        return x * x.softmax(-1)


def inputs(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(5, TOKENS, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)


def expected(model: Network, x: Tensor, *, shared: bool = False) -> list[float]:
    """The same two numbers, query by query."""
    with torch.no_grad():
        q, k, _ = model.parts(model.stem(x))
    ratios, largest = [], 0.0
    for sample in range(len(x)):
        for head in range(HEADS):
            logits = q[sample, head] @ k[sample, 0 if shared else head].T / math.sqrt(WIDTH / HEADS)
            for query in range(TOKENS):
                row = logits[query, : query + 1] if model.causal else logits[query]
                p = row.softmax(0)
                largest = max(largest, float(row.abs().max()))
                ratios += [float(-(p * p.log()).sum()) / math.log(len(row))] if len(row) > 1 else []
    return [sum(ratios) / len(ratios), largest]


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("attend", [fused, masked_by_bool, masked_by_sum, shared_keys, written, summed])
def test_attention_is_the_same_however_it_is_written(attend: Callable[..., Tensor], causal: bool) -> None:
    model, x = Network(attend, causal=causal).double(), inputs()
    found = sppkit.measure(model, x, stats=NAMES)[NAMES].to_numpy()
    assert found[-1] == pytest.approx(expected(model, x, shared=attend is shared_keys), rel=1e-12)
    assert (found[:-1] != found[:-1]).all()  # nan: a softmax over channels is no attention


@pytest.mark.parametrize("weights", [False, True], ids=["fused", "with weights"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_torchs_own_attention(weights: bool, mode: str) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem = nn.Linear(8, WIDTH)
            self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return x + self.attention(x, x, x, need_weights=weights)[0]

    model = Own().double()
    twin = Network(fused, causal=False).double()
    twin.stem, twin.qkv = model.stem, nn.Linear(WIDTH, 3 * WIDTH).double()
    twin.qkv.weight, twin.qkv.bias = model.attention.in_proj_weight, model.attention.in_proj_bias
    table = sppkit.measure(model, inputs(), stats=NAMES, mode=mode)
    assert table[NAMES].to_numpy()[-1] == pytest.approx(expected(twin, inputs()), rel=1e-12)


def test_listening_changes_nothing() -> None:
    model, x = Network(fused, causal=True), inputs(torch.float32)
    before = model(x)
    with sppkit.Probe(model, stats=["spp", *NAMES, "saturated_fraction"]) as probe:
        during = model(x)
    assert torch.equal(before, during)
    assert torch.equal(before, model(x))
    assert probe.table()["attention_entropy"].notna().any()


def test_a_pass_that_raises_leaves_nothing_open() -> None:
    def broken(*_: object) -> Tensor:
        raise RuntimeError("broken")

    model, x = Network(fused, causal=True), inputs(torch.float32)
    with sppkit.Probe(model, stats=NAMES) as probe:
        model(x)
        model.attend = broken
        with pytest.raises(RuntimeError, match="broken"):
            model(x)
        assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()
        model.attend = fused
        model(x)
    assert probe.table()["attention_entropy"].notna().any()


class Bounded(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.inner, self.function = nn.Linear(8, 8), nn.Linear(8, 8), function
        self.inner.weight.data.mul_(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.function(self.inner(x))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "tanh in place": lambda x: x.tanh_(),
    "nn.Tanh": nn.Tanh(),
    "sigmoid": torch.sigmoid,
    "hardtanh": functional.hardtanh,
    "hardsigmoid": functional.hardsigmoid,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_saturation_is_where_the_slope_is_flat(name: str) -> None:
    model, x = Bounded(FUNCTIONS[name]).double(), inputs().flatten(0, 1)
    entered = model.inner(model.stem(x)).detach().requires_grad_()
    slope = torch.autograd.grad(FUNCTIONS[name](entered * 1).sum(), entered)[0].abs()
    steepest = 0.25 if name == "sigmoid" else 1 / 6 if name == "hardsigmoid" else 1.0
    found = sppkit.measure(model, x, stats="saturated_fraction")["saturated_fraction"].tolist()
    assert found[-1] == float((slope / steepest < 0.05).double().mean()) > 0.1


def test_relu6_is_saturated_above_six_only() -> None:
    model, x = Bounded(functional.relu6).double(), inputs().flatten(0, 1)
    found = sppkit.measure(model, x, stats="saturated_fraction")["saturated_fraction"].tolist()
    assert found[-1] == float((model.inner(model.stem(x)) >= 6).double().mean()) > 0


@pytest.mark.parametrize("name", sorted(SLOPES))
def test_a_slope_of_nan_is_nan(name: str) -> None:
    assert SLOPES[name]({"self": torch.tensor([math.nan])}).isnan().all()


def test_a_network_without_either_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    table = sppkit.measure(Bounded(torch.relu), inputs(torch.float32), stats=[*NAMES, "saturated_fraction"])
    assert table[[*NAMES, "saturated_fraction"]].isna().all(axis=None)
