"""The residual stream: networks whose joins are known by construction, and the sums beside them that are details."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import sppkit


def conv(inputs: int, outputs: int | None = None, kernel: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs or inputs, kernel, padding=kernel // 2, **options)


def maps() -> Tensor:
    return torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(1))


def tokens() -> Tensor:
    return torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(1))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v


class Residual(nn.Module):
    """x + f(x), or with ``after`` applied to the sum."""

    def __init__(self, branch: nn.Module, after: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.after = branch, after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(x + self.branch(x))


def plain_block() -> nn.Module:
    return Residual(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), conv(8)))


class ChannelContext(nn.Module):
    """The branch has one channel, or one position, and is added to all."""

    def __init__(self, axes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.axes, self.layers = axes, nn.Sequential(conv(width, 8, 1), nn.ReLU(), conv(8, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x.mean(self.axes, keepdim=True))


class Cascade(nn.Module):
    """Res2Net's cascade over the parts of the block's own input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(2) for _ in range(4)])
        self.mix = conv(8)

    def forward(self, x: Tensor) -> Tensor:
        parts: list[Tensor] = []
        for part, layer in zip(x.chunk(4, 1), self.layers, strict=True):
            parts.append(layer(part if not parts else parts[-1] + part))
        return x + self.mix(torch.cat(parts, 1))


class LocalAttention(nn.Module):
    """Attention and a depthwise convolution of the values, summed inside the branch."""

    def __init__(self, order: bool = False) -> None:
        super().__init__()
        self.qkv, self.local, self.project = nn.Linear(8, 24), nn.Conv1d(8, 8, 3, padding=1, groups=8), nn.Linear(8, 8)
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        near, far = self.local(v.transpose(1, 2)).transpose(1, 2), attend(q, k, v)
        return x + self.project(near + far if self.order else far + near)


class ValueResidual(LocalAttention):
    """The values are changed before they are attended to."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        v = v + self.local(v.transpose(1, 2)).transpose(1, 2).relu()
        return x + self.project(attend(q, k, v))


class Modulation(nn.Module):
    """Contexts of growing reach are summed up and modulate a query."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.project = conv(8, 19, 1), conv(8, 8, 1)
        self.layers = nn.ModuleList([nn.Sequential(conv(8, groups=8), nn.GELU()) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        query, context, gates = self.enter(x).split((8, 8, 3), 1)
        total: Tensor | float = 0.0
        for index, layer in enumerate(self.layers):
            context = layer(context)
            total = total + context * gates[:, index : index + 1]
        return x + self.project(query * total)


class DeltaRule(nn.Module):
    """A state that each token adds to."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        state = v[:, 0, :, None] * k[:, 0, None, :]
        seen = [(state @ q[:, 0, :, None])[..., 0]]
        for step in range(1, x.shape[1]):
            error = v[:, step, :, None] - state @ k[:, step, :, None]
            state = state + error * k[:, step, None, :]
            seen.append((state @ q[:, step, :, None])[..., 0])
        return x + self.project(torch.stack(seen, 1))


class Positions(nn.Module):
    """Positions that are computed from the input, added to queries and keys alone, as in DETR."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.stem, self.positions = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.norms = nn.ModuleList([nn.LayerNorm(8) for _ in range(layers)])
        self.values = nn.ModuleList([nn.Linear(8, 8) for _ in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        for norm, value in zip(self.norms, self.values, strict=True):
            query = stream + self.positions(x)
            stream = norm(stream + attend(query, query, value(stream)))
        return stream


class Midpoint(nn.Module):
    """A step of Runge and Kutta's: the sums inside are arguments of a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        first = self.f(x)
        second = self.f(x + 0.5 * first)
        third = self.f(x + 0.5 * second)
        return x + third


class GlobalContext(nn.Module):
    """A context block in the middle of a bottleneck's branch."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.context, self.leave = conv(8), ChannelContext((2, 3), 8), conv(8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.leave(self.context(self.enter(x).relu()))


class Fusion(nn.Module):
    """One stream takes in the other, in every block by the same code."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.across = (nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(3))

    def forward(self, streams: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        left, right = self.left(streams[0]), self.right(streams[1])
        return left + self.across(right), right


class TwoStreams(nn.Module):
    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Fusion() for _ in range(blocks)])

    def forward(self, x: Tensor) -> Tensor:
        streams = x, x
        for block in self.blocks:
            streams = block(streams)
        return streams[0]


# Nested streams of blocks, which are rows.


class UNet(nn.Module):
    """Additive skips, and one block on each level."""

    def __init__(self, levels: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([plain_block() for _ in range(levels)])
        self.down = nn.ModuleList([conv(8, stride=2) for _ in range(levels - 1)])

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block, down in zip(self.blocks, self.down, strict=False):
            x = block(x)
            skips.append(x)
            x = down(x)
        x = self.blocks[-1](x)
        for skip in reversed(skips):
            x = skip + nn.functional.interpolate(x, scale_factor=2)
        return x


class CrossEncoder(nn.Module):
    """The encoder's stream reaches the output only through the decoder's branches."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 8)
        self.encoder = nn.Sequential(*[Residual(nn.Sequential(nn.Linear(8, 8), nn.ReLU())) for _ in range(layers)])
        self.values = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        memory = self.encoder(self.embed(x))
        for value in self.values:
            y = y + attend(y, memory, value(memory))
        return y


class Momentum(nn.Module):
    """A velocity of its own is carried from block to block, and added to the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, velocity = state
        velocity = 0.9 * velocity + 0.1 * self.f(x)
        return x + velocity, velocity


def flat(x: Tensor, layers: nn.ModuleList) -> Tensor:
    stream = x
    for layer in layers:
        stream = stream + layer(stream).relu()
    return x + layers[0](stream)


class Flat(nn.Module):
    """A long skip around short ones, all in one forward method."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(8) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        return flat(x, self.layers)


class Other(Residual):
    """A block of another class."""


class Meeting(nn.Module):
    """Two ways, neither of which is linear, meet at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(conv(8), nn.ReLU(), plain_block())
        self.right = nn.Sequential(conv(8), nn.ReLU(), conv(8), nn.ReLU(), Other(conv(8)))

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


class Unused(nn.Module):
    """A block whose output goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.aside = plain_block(), Other(conv(8))

    def forward(self, x: Tensor) -> Tensor:
        self.aside(x)
        return self.main(x)


class Fuse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.far, self.near = nn.Sequential(conv(8), nn.ReLU(), conv(8)), conv(8, kernel=1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + self.far(b) + self.near(b)


class ThreeTerms(nn.Module):
    """A sum of three, whose last term is linear in what the second was computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.beside, self.fuse = plain_block(), nn.Sequential(conv(8), nn.ReLU()), Fuse()

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(self.block(x).relu(), self.beside(x))


def stack(*blocks: Callable[[], nn.Module], stem: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(*([stem] if stem else []), *[block() for block in blocks])


def long_skip(branch: Callable[[], nn.Module], groups: int = 2) -> nn.Module:
    return nn.Sequential(conv(8), *[Residual(nn.Sequential(branch(), branch(), conv(8))) for _ in range(groups)])


BOTH = (tokens(), tokens().flip(0))
CASES: dict[str, tuple[Callable[[], nn.Module], Tensor, list[str]]] = {
    "a branch of one channel": (
        lambda: stack(*[lambda: ChannelContext((1,), 1)] * 2, stem=conv(8)), maps(), ["1", "2"]),
    "a branch of one position": (
        lambda: stack(*[lambda: ChannelContext((2, 3), 8)] * 2, stem=conv(8)), maps(), ["1", "2"]),
    "cascade over parts": (lambda: stack(Cascade, Cascade, stem=conv(8)), maps(), ["1", "2"]),
    "local values": (lambda: stack(LocalAttention, LocalAttention), tokens(), ["0", "1"]),
    "local values, other order": (lambda: stack(*[lambda: LocalAttention(True)] * 2), tokens(), ["0", "1"]),
    "value residual": (lambda: stack(ValueResidual, ValueResidual), tokens(), ["0", "1"]),
    "modulation": (lambda: stack(Modulation, Modulation), maps(), ["0", "1"]),
    "delta rule": (lambda: stack(DeltaRule, DeltaRule), tokens(), ["0", "1"]),
    "positions": (Positions, tokens(), ["Positions#1", "Positions#2", "Positions#3"]),
    "midpoint": (lambda: stack(Midpoint, Midpoint), tokens(), ["0", "1"]),
    "context in a branch": (lambda: stack(GlobalContext, GlobalContext, stem=conv(8)), maps(), ["1", "2"]),
    "long skip around blocks": (
        lambda: long_skip(plain_block), maps(),
        ["1.branch.0", "1.branch.1", "1", "2.branch.0", "2.branch.1", "2"]),
    "long skip around post-activation blocks": (
        lambda: long_skip(lambda: Residual(conv(8), nn.ReLU())), maps(),
        ["1.branch.0", "1.branch.1", "1", "2.branch.0", "2.branch.1", "2"]),
    "one block on each level": (
        UNet, maps(), ["blocks.0", "blocks.1", "blocks.2", "UNet#1", "UNet#2"]),
    "one block on each of two levels": (lambda: UNet(2), maps(), ["blocks.0", "blocks.1", "UNet"]),
    "two streams meet": (Meeting, maps(), ["left.2", "right.4", "Meeting"]),
    "a block that no output comes from": (Unused, maps(), ["aside", "main"]),
    "a sum of three": (ThreeTerms, maps(), ["block", "fuse"]),
    "skip around the whole": (
        lambda: Residual(nn.Sequential(conv(8), plain_block(), plain_block(), conv(8))), maps(),
        ["branch.1", "branch.2", "Residual"]),
    "skips in one method": (Flat, maps(), ["Flat#1", "Flat#2", "Flat#3", "Flat#4"]),
}  # fmt: skip
PAIRS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "encoder of one layer": (lambda: CrossEncoder(1), ["encoder.0", "CrossEncoder#1", "CrossEncoder#2"]),
    "encoder of two layers": (
        lambda: CrossEncoder(2), ["encoder.0", "encoder.1", "CrossEncoder#1", "CrossEncoder#2"]),
}  # fmt: skip


def found(net: nn.Module, inputs: object) -> list[str]:
    return [join.name for join in sppkit.find_joins(net, inputs).joins]


@pytest.mark.parametrize("name", CASES)
def test_joins_are_the_sums_that_continue_the_stream(name: str) -> None:
    build, x, expected = CASES[name]
    assert found(build(), x) == expected


@pytest.mark.parametrize("name", CASES)
def test_the_batchs_order_and_the_modules_names_make_no_difference(name: str) -> None:
    build, x, expected = CASES[name]
    net = build()
    assert found(net, x.flip(0)) == expected
    # Wrapped in a module, whose name stands before all others, and is the one of what happened in the model itself.
    wrapped = nn.Sequential(OrderedDict(around=net))
    own = type(net).__name__
    assert found(wrapped, x) == [
        f"around{place.removeprefix(own)}" if place.startswith(own) else f"around.{place}" for place in expected
    ]


class OfTwo(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, both: Tensor) -> Tensor:
        return self.net(*both.unbind())


@pytest.mark.parametrize("name", PAIRS)
def test_a_stream_that_begins_elsewhere_is_one(name: str) -> None:
    build, expected = PAIRS[name]
    net = build()
    assert found(net, {"x": BOTH[0], "y": BOTH[1]}) == expected


def test_a_velocity_is_a_stream() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.blocks = nn.Linear(8, 8), nn.ModuleList([Momentum() for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            state = x, self.start(x)
            for block in self.blocks:
                state = block(state)
            return state[0]

    assert found(Net(), tokens()) == [f"blocks.{block}#{number}" for block in range(3) for number in (1, 2)]


def test_one_code_has_one_judgement() -> None:
    # In the first block the streams have just parted, and one way is longer; later both are equally long.
    findings = sppkit.find_joins(TwoStreams(), tokens())
    assert [join.name for join in findings.joins] == [f"blocks.{block}" for block in range(4)]
    assert {join.branch.place for join in findings.joins if join.branch} == {
        f"relu in blocks.{block}.across.1" for block in range(4)
    }


def test_what_is_a_detail_is_listed_with_its_reason_and_can_be_made_a_join() -> None:
    net = stack(LocalAttention, LocalAttention)
    findings = sppkit.find_joins(net, tokens())
    assert {item.name: item.reason for item in findings.rejected} == {
        f"{block}~1": "it is a detail of a branch: the residual stream is not carried on through it" for block in (0, 1)
    }
    kept = sppkit.find_joins(net, tokens(), sites={"join": [{"name": "0~1", "keep": True}]})
    assert [join.name for join in kept.joins] == ["0~1", "0", "1"]


def test_a_sum_over_fewer_axes_is_listed() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            x[1:] += self.layer(x[0])
            return x

    (rejected,) = sppkit.find_joins(Part(), tokens()).rejected
    assert (rejected.name, rejected.reason) == (
        "Part~1",
        "one side has fewer axes than the other, and is added to each of its parts",
    )


def test_a_spread_branch_has_the_variance_of_what_it_is() -> None:
    torch.manual_seed(0)
    net, x = ChannelContext((2, 3), 8), maps()
    with torch.no_grad():
        branch = net.layers(x.mean((2, 3), keepdim=True)).double().expand(4, 8, 8, 8)
    table = sppkit.measure(net, x)
    expected = branch.var((0, 2, 3), correction=0).mean().item()
    assert table["residual_variance"][1] == pytest.approx(expected, rel=1e-5)  # float32 against float64
