"""Branches of one input that are added in one block: one row, however the code puts the brackets."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

import sppkit
from sppkit.measuring.backward.identity_skip import joined_by_identity

WIDTH, SAMPLES = 12, 64


class Block(nn.Module):
    """x + a(h) + m(h) for one h, added in a given order; ``scale`` times m."""

    def __init__(self, order: str, scale: float = 1.0) -> None:
        super().__init__()
        self.norm, self.a = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.m = nn.Sequential(nn.Linear(WIDTH, 3 * WIDTH), nn.GELU(), nn.Linear(3 * WIDTH, WIDTH))
        self.order, self.scale = order, scale

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        a, m = self.a(h), self.m(h)
        if self.scale != 1.0:
            m = m * self.scale
        match self.order:
            case "(x+a)+m":
                return x + a + m
            case "(m+x)+a":
                return a + (m + x)
            case "(a+m)+x":
                return a + m + x
            case "x+(m+a)":
                return x + (m + a)
            case "in place":
                x = x + a
                x += m
                return x
            case "both in place":
                x = x.clone()
                x += a
                x += m
                return x
            case "three":
                return x + a + m + self.a(m)
            case _:  # something else reads the first sum
                first = x + a
                return first + m + 0.5 * torch.sigmoid(first)


ORDERS = ("(x+a)+m", "(m+x)+a", "(a+m)+x", "x+(m+a)", "in place", "both in place")


def network(order: str, scale: float = 1.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), *(Block(order, scale) for _ in range(3)))


def inputs() -> Tensor:
    return torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(1))


def branch_variances(model: nn.Sequential) -> list[float]:
    """Return the variance of a + m of every block, in float64, with nothing of the package."""
    x, found = model[0].double()(inputs().double()), []
    for block in list(model)[1:]:
        h = block.double().norm(x)
        branch = block.a(h) + block.scale * block.m(h)
        found.append(float(branch.detach().var(0, unbiased=False).mean()))
        x = x + branch
    return found


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("order", ORDERS)
def test_one_mathematics_has_one_row(order: str, scale: float) -> None:
    table = sppkit.measure(network(order, scale), inputs())
    assert list(table["name"]) == ["stem", "1", "2", "3"]
    # float32 signals of size 1: 1e-6 of rounding in each
    assert table["residual_variance"][1:].tolist() == pytest.approx(branch_variances(network(order, scale)), rel=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_every_pass_is_heard_whole(order: str) -> None:
    model, batch = network(order), inputs()
    with sppkit.Probe(model) as probe, torch.no_grad():
        for part in batch.split(16):
            model(part)
    whole = sppkit.measure(model, batch)
    merged = probe.table()
    assert merged["residual_variance"].tolist()[1:] == pytest.approx(whole["residual_variance"].tolist()[1:], rel=1e-5)


@pytest.mark.parametrize("order", ["(x+a)+m", "in place"])
def test_the_share_of_the_branch_in_the_gradient_is_the_same(order: str) -> None:
    together = sppkit.measure(network("x+(m+a)"), inputs(), stats="spp,gradient")
    parted = sppkit.measure(network(order), inputs(), stats="spp,gradient")
    share = together["branch_gradient_share"].tolist()[1:]
    assert all(value > 0 for value in share)
    assert parted["branch_gradient_share"].tolist()[1:] == pytest.approx(share, rel=1e-4)


def test_three_branches_are_one_block() -> None:
    model = network("three")
    findings = sppkit.find_joins(model, inputs())
    assert [join.name for join in findings.joins] == ["1", "2", "3"]
    # a(m) goes on from m, which was computed from the same input: one more term of the same sum
    assert [len(join.beside) for join in findings.joins] == [2, 2, 2]


def test_a_sum_that_something_else_reads_keeps_its_row() -> None:
    names = [join.name for join in sppkit.find_joins(network("else"), inputs()).joins]
    assert names[:2] == ["1#1", "1#2"]


def test_branches_that_follow_each_other_keep_their_rows() -> None:
    class Serial(Block):
        def forward(self, x: Tensor) -> Tensor:
            x = x + self.a(self.norm(x))
            return x + self.m(self.norm(x))

    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), Serial(""), Serial(""))
    assert [join.name for join in sppkit.find_joins(model, inputs()).joins] == ["1#1", "1#2", "2#1", "2#2"]


def test_a_user_can_have_both_rows_again() -> None:
    corrections = {"join": [{"name": "*~1", "keep": True}]}
    table = sppkit.measure(network("(x+a)+m"), inputs(), sites=corrections)
    assert len(table) == 7
    parted = table["residual_variance"].tolist()[1:]
    model = network("(x+a)+m").double()
    x = model[0](inputs().double())
    h = model[1].norm(x)
    expected = [float(each(h).detach().var(0, unbiased=False).mean()) for each in (model[1].a, model[1].m)]
    assert parted[:2] == pytest.approx(expected, rel=1e-5)


def test_what_was_found_names_every_branch() -> None:
    line = str(sppkit.find_joins(network("(x+a)+m"), inputs())).splitlines()[1]
    assert "branch: addmm in 1.a + addmm in 1.m.2; skip: addmm in 0" in line


def test_branches_that_two_modules_add_keep_their_rows() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.a(x)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.m = Inner(), nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + self.m(x)

    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), Outer(), Outer())
    names = [join.name for join in sppkit.find_joins(model, inputs()).joins]
    assert names == ["1.inner", "1", "2.inner", "2"]


@pytest.mark.parametrize(
    ("make", "joined"),
    [
        (lambda x, a, m: (x + a) + m, True),
        (lambda x, a, m: a + (m + x), True),
        (lambda x, a, m: x + (x + a) + m, False),  # the value before counts twice
        (lambda x, a, m: torch.add(a + m, x, alpha=0.5), False),
        (lambda x, a, m: a + m + 0 * x, False),
    ],
)
def test_a_sum_of_sums_is_the_value_before_once_or_it_is_not(make: object, joined: bool) -> None:
    x = torch.randn(4, 3, requires_grad=True) * 1.0
    y = make(x, x.sin(), x.cos())  # type: ignore[operator]
    before, after = (GradientEdge(value.grad_fn, value.output_nr) for value in (x, y))
    assert joined_by_identity([before, after], [after]) == [False, joined]
