"""Faults, planted one at a time: what is done to the network, where it must be found, and what must be said of it."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import sppkit
from benchmarks.gate.margins import margin
from benchmarks.gate.networks import Case, Change
from sppkit.gate.baseline import Baseline
from sppkit.models.activations import activation_gain, load_activation
from sppkit.models.layers import StochasticDepth

NF = Case("nf-resnet", {"alpha": 1.0})
NF_SMALL = Case("nf-resnet")
NF_SE = Case("nf-resnet", {"alpha": 1.0, "se": True})
BN = Case("bn-relu-conv")
RELU_BN = Case("relu-bn-conv")
USER = Case("")
CONVOLUTIONS = range(3)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What was done, for the table.
        case: The network.
        plant: Does it to a built model.
        block: The block where it sits first.
        words: Texts of which at least one must be in the cause.
    """

    name: str
    case: Case
    plant: Change
    block: int
    words: tuple[str, ...]


def blocks_of(model: nn.Module, blocks: Iterable[int] | None = None) -> list[Any]:
    """Return the chosen blocks, from 1 on; all of them by default."""
    every = list(model.blocks)  # type: ignore[arg-type]
    return every if blocks is None else [every[block - 1] for block in blocks]


def on_blocks(change: Any, blocks: Iterable[int] | None = None) -> Change:
    """Return a change of a model that does something to some of its blocks."""

    def apply(model: nn.Module) -> None:
        for block in blocks_of(model, blocks):
            change(block)

    return apply


def convolutions(block: Any) -> list[Any]:
    return [getattr(block, f"conv{index}") for index in CONVOLUTIONS]


def scale_activations(factor: float, indices: Iterable[int] = CONVOLUTIONS) -> Any:
    def change(block: Any) -> None:
        for index in indices:
            getattr(block, f"activation{index}").scale *= factor

    return change


def plain_convolutions(block: Any) -> None:
    for convolution in convolutions(block):
        convolution.parametrization = None


def without_centring(block: Any) -> None:
    def scaled_only(weight: Tensor, gain: Tensor, c: float) -> Tensor:
        power = weight.square().sum(dim=(1, 2, 3), keepdim=True)
        return weight * (c / power).sqrt() * gain.view(-1, 1, 1, 1)

    for convolution in convolutions(block):
        convolution.parametrization = scaled_only


def with_forward(forward: Any) -> Any:
    def change(block: Any) -> None:
        block.forward = types.MethodType(forward, block)

    return change


def prepare(block: Any, index: int, x: Tensor) -> Tensor:
    for operation in block.before:
        module = getattr(block, f"{operation}{index}")
        x = x if module is None else module(x)
    return x


def branch_of(block: Any, prepared: Tensor) -> Tensor:
    branch = prepared
    for index in CONVOLUTIONS:
        branch = getattr(block, f"conv{index}")(branch if index == 0 else prepare(block, index, branch))
    return block.residual(branch)


def shortcut_of_raw_input(block: Any, x: Tensor) -> Tensor:
    branch = branch_of(block, prepare(block, 0, x))
    return (x if block.shortcut is None else block.shortcut(x)) + block.alpha * branch


def skip_of_prepared(block: Any, x: Tensor) -> Tensor:
    prepared = prepare(block, 0, x)
    return prepared + block.alpha * branch_of(block, prepared)


def no_skip(block: Any, x: Tensor) -> Tensor:
    return block.alpha * branch_of(block, prepare(block, 0, x))


def skip_twice(block: Any, x: Tensor) -> Tensor:
    return 2 * x + block.alpha * branch_of(block, prepare(block, 0, x))


def beta_of_the_block_before(model: nn.Module) -> None:
    # Within a stage of alpha 1 beta² is 1, 2, 3 after 0, 1, 2 blocks; the fault counts one block too few.
    for index, block in enumerate(blocks_of(model)):
        behind = index % 3
        if behind:
            block.activation0.scale *= ((1 + behind) / behind) ** 0.5


def set_alpha(alpha: float) -> Any:
    def change(block: Any) -> None:
        block.alpha = alpha

    return change


def halve_branch(block: Any) -> None:
    block.skip_gain.data.fill_(0.5)


def drop_norms(block: Any) -> None:
    for index in CONVOLUTIONS:
        setattr(block, f"norm{index}", None)


def freeze_norms(block: Any) -> None:
    for index in CONVOLUTIONS:
        getattr(block, f"norm{index}").eval()


def swap_order(block: Any) -> None:
    block.before = block.before[::-1]
    # The two orders see different widths at the first convolution only through the normalizer, which both have.


def scale_weights(factor: float, indices: Iterable[int] = CONVOLUTIONS) -> Any:
    def change(block: Any) -> None:
        for index in indices:
            convolution = getattr(block, f"conv{index}")
            target = convolution.gain if hasattr(convolution, "gain") else convolution.weight
            target.data.mul_(factor)

    return change


def bias_of_one(block: Any) -> None:
    block.conv2.bias.data.fill_(1.0)


def norm_bias_of_one(block: Any) -> None:
    for index in CONVOLUTIONS:
        getattr(block, f"norm{index}").bias.data.fill_(1.0)


def change_activation(name: str) -> Any:
    def change(block: Any) -> None:
        for index in CONVOLUTIONS:
            getattr(block, f"activation{index}").activation = load_activation(name)

    return change


def drop_samples(rate: float) -> Any:
    def change(block: Any) -> None:
        block.stochastic_depth = StochasticDepth(rate)

    return change


def overflow(block: Any) -> None:
    block.conv2.register_forward_hook(lambda _module, _inputs, output: (output * 1e5).half().float())


def no_pool(model: nn.Module) -> None:
    model.stem_pool = nn.Identity()


def average_pool(model: nn.Module) -> None:
    model.stem_pool = nn.AvgPool2d(3, 2, 1)


def no_factor(block: Any) -> None:
    block.se.factor = 1.0


def dead(block: Any) -> None:
    block.conv2.gain.data.zero_()


def no_shortcut(block: Any) -> None:
    block.shortcut.gain.data.zero_() if hasattr(block.shortcut, "gain") else block.shortcut.weight.data.zero_()


def user_without_bn2(block: Any) -> None:
    block.bn2 = nn.Identity()


def user_zero_gamma(block: Any) -> None:
    block.bn2.weight.data.zero_()


def user_without_relu(block: Any) -> None:
    block.relu = nn.Identity()


def user_overflow(block: Any) -> None:
    block.conv1.register_forward_hook(lambda _module, _inputs, output: (output * 1e6).half().float())


def user_gamma_two(block: Any) -> None:
    block.bn2.weight.data.fill_(2.0)


def user_without_skip(block: Any, x: Tensor) -> Tensor:
    return block.relu(block.branch(block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))))


def user_frozen(block: Any) -> None:
    block.bn1.eval()
    block.bn2.eval()


def user_bias(block: Any) -> None:
    block.bn2.bias.data.fill_(2.0)


GAIN = activation_gain("relu")
ROOT_2 = 2**0.5
FAULTS: list[Fault] = [
    Fault("scaled-ws replaced by plain convolutions", NF, on_blocks(plain_convolutions), 1, ("not centred",)),
    Fault("scaled-ws replaced in one stage", NF, on_blocks(plain_convolutions, (4, 5, 6)), 4, ("not centred",)),
    Fault("weights scaled, not centred, in one stage", NF, on_blocks(without_centring, (4, 5, 6)), 4, ("not centred",)),
    Fault("gamma forgotten", NF, on_blocks(scale_activations(1 / GAIN)), 1, ("gain is missing",)),
    Fault("gamma forgotten once", NF, on_blocks(scale_activations(1 / GAIN, [1]), [5]), 5, ("gain is missing once",)),
    Fault("gamma twice", NF, on_blocks(scale_activations(GAIN)), 1, ("once too often",)),
    Fault("beta off by one block", NF, beta_of_the_block_before, 2, ("beta is off",)),
    Fault("no reset at transitions", NF, on_blocks(with_forward(shortcut_of_raw_input), (4, 7)), 4, ("not reset",)),
    Fault("alpha 1 for 0.2", NF_SMALL, on_blocks(set_alpha(1.0)), 1, ("alpha",)),
    Fault("alpha 1 for 0.2 in one stage", NF_SMALL, on_blocks(set_alpha(1.0), (4, 5, 6)), 4, ("alpha", "branch")),
    Fault("SE without its factor 2", NF_SE, on_blocks(no_factor), 1, ("factor 2",)),
    Fault("a bias of 1", NF, on_blocks(bias_of_one, [5]), 5, ("bias",)),
    Fault("init gain off by sqrt 2", NF, on_blocks(scale_weights(ROOT_2, [2]), [5]), 5, ("initialization gain",)),
    Fault("ReLU made tanh, its gain kept", NF, on_blocks(change_activation("tanh"), (4, 5, 6)), 4, ("activation",)),
    Fault("ReLU made identity, its gain kept", NF, on_blocks(change_activation("identity"), [5]), 5, ("activation",)),
    Fault("the residual scaled twice", NF, on_blocks(halve_branch), 1, ("scaled",)),
    Fault("the skip reads the activation", NF, on_blocks(with_forward(skip_of_prepared), [5]), 5, ("skip",)),
    Fault("the skip is missing", NF, on_blocks(with_forward(no_skip), [5]), 5, ("skip is missing",)),
    Fault("the skip is added twice", NF, on_blocks(with_forward(skip_twice), [5]), 5, ("skip",)),
    Fault("stochastic depth left on", NF, on_blocks(drop_samples(0.5)), 1, ("stochastic depth", "dropped")),
    Fault("a cast inside a block that overflows", NF, on_blocks(overflow, [5]), 5, ("overflows",)),
    Fault("a stem without its pool", NF, no_pool, 0, ("pool",)),
    Fault("a stem with another pool", NF, average_pool, 0, ("pool",)),
    Fault("a dead branch", NF, on_blocks(dead, [5]), 5, ("dead",)),
    Fault("a transition without its shortcut", NF, on_blocks(no_shortcut, [4]), 4, ("shortcut",)),
    Fault("the normalizer dropped in one stage", BN, on_blocks(drop_norms, (4, 5, 6)), 4, ("normalizer",)),
    Fault("the normalizer dropped in one block", BN, on_blocks(drop_norms, [6]), 6, ("normalizer",)),
    Fault("the normalizer dropped everywhere", BN, on_blocks(drop_norms), 1, ("normalizer",)),
    Fault("normalizers stuck in eval", BN, on_blocks(freeze_norms, [6]), 6, ("eval",)),
    Fault("BN and ReLU swapped", BN, on_blocks(swap_order), 1, ("swapped",)),
    Fault("BN and ReLU swapped in one stage", BN, on_blocks(swap_order, (4, 5, 6)), 4, ("swapped",)),
    Fault("BN and ReLU swapped back", RELU_BN, on_blocks(swap_order), 1, ("before the activation",)),
    Fault("a normalizer's bias of 1", RELU_BN, on_blocks(norm_bias_of_one, [5]), 5, ("bias",)),
    Fault("init gain off by sqrt 2 everywhere", BN, on_blocks(scale_weights(ROOT_2)), 1, ("initialization gain",)),
    Fault("fan-out for fan-in", BN, on_blocks(scale_weights(0.5, [2])), 1, ("fan-out",)),
    Fault(
        "a user's normalizer dropped in one block", USER, on_blocks(user_without_bn2, [5]), 5, ("normalizer", "scale")
    ),
    Fault("a user's zero-initialized branch", USER, on_blocks(user_zero_gamma, [5]), 5, ("dead",)),
    Fault("a user's activation missing", USER, on_blocks(user_without_relu, [5]), 5, ("activation",)),
    Fault("a user's overflowing cast", USER, on_blocks(user_overflow, [5]), 5, ("overflows",)),
    Fault("a user's gain of 2", USER, on_blocks(user_gamma_two, [5]), 5, ("factor 2",)),
    Fault("a user's skip missing", USER, on_blocks(with_forward(user_without_skip), [5]), 5, ("skip is missing",)),
    Fault("a user's normalizers stuck in eval", USER, on_blocks(user_frozen, [5]), 5, ("eval", "scale")),
    Fault("a user's bias of 2", USER, on_blocks(user_bias, [5]), 5, ("bias",)),
]


def run_fault(fault: Fault, base: Any, seeds: list[int]) -> dict[str, Any]:
    """Plant a fault and judge it, with a baseline and without."""
    torch.manual_seed(0)
    table = fault.case.measure(seeds, fault.plant)
    record = fault.case.record(seeds)
    verdict = sppkit.check(table, baseline=Baseline("base", base, record, {}), record=record)
    alone = sppkit.check(table, record=record)
    first = verdict.first
    return {
        "fault": fault.name,
        "network": fault.case.name,
        "planted": fault.block,
        "exit": verdict.exit_code,
        "first": None if first is None else first.block,
        "cause": "" if first is None else first.cause,
        "located": first is not None and fault.block <= first.block <= fault.block + 1,
        "explained": first is not None and any(word in first.cause for word in fault.words),
        "policy_alone": _finds(alone, "policy"),
        "theory_alone": _finds(alone, "prediction"),
        "statistic": "" if first is None else f"{first.statistic} ({first.kind})",
        "margin": margin(table, base, record, record)[0],
    }


def _finds(verdict: Any, kind: str) -> int:
    """Return 1 where one kind of judgement alone finds an error, as an exit code does."""
    return int(any(item.kind == kind for item in verdict.errors))
