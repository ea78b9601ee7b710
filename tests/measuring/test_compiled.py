"""Models that torch.compile has made something of: every site fires, in every pass, with the model's own values.

What is compiled and has run does not see the hooks that come later, and torch says nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pandas as pd
import pytest
import torch
import torch._dynamo
from torch import Tensor, nn

import sppkit
from sppkit.measuring.forward.compiled import run_uncompiled


class Own(nn.Module):
    """Two residual blocks, which are found."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return x


@pytest.fixture(autouse=True)
def _nothing_compiled_yet() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def declared() -> nn.Module:
    return sppkit.build_model("nf-resnet", stages=(1, 2), width=0.125).eval()


def found() -> nn.Module:
    torch.manual_seed(0)
    return Own().eval()


def batch(side: int = 16) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))


Call = Callable[[Tensor], object]


def whole(net: nn.Module, backend: str) -> tuple[nn.Module, Call]:
    compiled = torch.compile(net, backend=backend, dynamic=False)
    return compiled, compiled


def beside(net: nn.Module, backend: str) -> tuple[nn.Module, Call]:
    return net, torch.compile(net, backend=backend, dynamic=False)


def in_place(net: nn.Module, backend: str) -> tuple[nn.Module, Call]:
    net.compile(backend=backend, dynamic=False)
    return net, net


def a_part(net: nn.Module, backend: str) -> tuple[nn.Module, Call]:
    net.blocks[1] = torch.compile(net.blocks[1], backend=backend, dynamic=False)
    return net, net


def a_part_in_place(net: nn.Module, backend: str) -> tuple[nn.Module, Call]:
    net.blocks[1].compile(backend=backend, dynamic=False)
    return net, net


def forward(net: nn.Module, backend: str) -> tuple[nn.Module, Call]:
    net.forward = torch.compile(net.forward, backend=backend, dynamic=False)
    return net, net


def a_function(net: nn.Module, backend: str) -> tuple[nn.Module, Call]:
    return net, torch.compile(lambda x: net(x), backend=backend, dynamic=False)


def one_graph(net: nn.Module, backend: str) -> tuple[nn.Module, Call]:
    return net, torch.compile(net, backend=backend, dynamic=False, fullgraph=True)


WAYS = [whole, beside, in_place, a_part, a_part_in_place, forward, a_function, one_graph]


@pytest.mark.parametrize("ran", [False, True], ids=["fresh", "ran before"])
@pytest.mark.parametrize("make", [declared, found])
@pytest.mark.parametrize(("way", "backend"), [*[(way, "eager") for way in WAYS], (whole, "aot_eager")])
def test_every_site_fires_with_the_values_of_the_model_itself(
    way: Callable[..., tuple[nn.Module, Call]], make: Callable[[], nn.Module], backend: str, ran: bool
) -> None:
    expected = sppkit.measure(make(), batch())
    net, call = way(make(), backend)
    with torch.no_grad():
        if ran:
            call(batch())
        with sppkit.Probe(net) as probe:
            call(batch())
        assert_same(probe.table(), expected)
        call(batch())  # after the probe nobody listens
    assert_same(probe.table(), expected)
    if call is net:
        assert_same(sppkit.measure(net, batch()), expected)


def assert_same(table: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(table, expected, rtol=1e-6)


def test_a_part_that_ran_for_one_of_two_shapes_misses_no_pass() -> None:
    # Its graph for the other shape would be new, and have the hooks: one pass of two, without a word.
    batches = [batch(16), batch(24)]
    expected = sppkit.measure(declared(), batches)
    net, _ = a_part_in_place(declared(), "eager")
    with torch.no_grad():
        net(batches[0])
    assert_same(sppkit.measure(net, batches), expected)


@pytest.mark.parametrize("make", [declared, found])
def test_compiled_code_is_compiled_code_again_behind_the_probe(make: Callable[[], nn.Module]) -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    net = make()
    compiled = torch.compile(net, backend=backend)
    with torch.no_grad():
        with sppkit.Probe(net):
            compiled(batch())
        assert not graphs
        compiled(batch())
        assert graphs


def test_the_stance_comes_back_in_whatever_order_probes_are_left() -> None:
    first, second = run_uncompiled(), run_uncompiled()
    compiled = torch.compile(lambda x: torch.compiler.is_compiling(), backend="eager")
    assert compiled(batch())
    for enter in (first, second):
        enter.__enter__()
        assert not compiled(batch())
    first.__exit__(None, None, None)
    assert not compiled(batch())
    second.__exit__(None, None, None)
    assert compiled(batch())


def test_listening_imports_no_compiler() -> None:
    code = (
        "import sys, torch, sppkit\n"
        "net = sppkit.build_model('nf-resnet', stages=(1, 1), width=0.125)\n"
        "with sppkit.Probe(net): net(torch.ones(2, 3, 32, 32))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
