"""Faults of normalizers: missing, in eval mode, at another place, another one, other settings."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import nn

from benchmarks.gate_users.faults.fault import (
    ACTIVATIONS,
    COUNTS,
    NORMS,
    WEIGHTED,
    Fault,
    NotApplicableError,
    change_each,
    in_blocks,
    in_place,
    in_some,
    iter_places,
    replace_each,
)

_BATCH = frozenset({"BatchNorm2d"})


def _without(block: Any) -> int:
    return replace_each(block, NORMS, lambda _norm: nn.Identity())


def _without_one(_model: nn.Module, blocks: Any, where: float) -> int:
    places = [place for block in blocks for place in iter_places(block, NORMS)]
    if not places:
        raise NotApplicableError
    places[round(where * (len(places) - 1))].put(nn.Identity())
    return 1


def _frozen(block: Any) -> int:
    # Train mode is set by who measures: the flag is held back, as by a wrapper that keeps its normalizers frozen.
    def freeze(norm: Any) -> None:
        norm.eval()
        norm.train = lambda _mode=True: norm

    return change_each(block, _BATCH, freeze)


def _gamma(_model: nn.Module, blocks: Any, factor: float) -> int:
    return in_blocks(blocks, lambda block: change_each(block, NORMS, lambda norm: norm.weight.data.mul_(factor)))


def _zero_last(block: Any) -> int:
    places = [place for place in iter_places(block, NORMS) if place.parent is block]
    if places:
        places[-1].module.weight.data.zero_()
    return len(places)


def _eps(_model: nn.Module, blocks: Any, eps: float) -> int:
    def change(norm: Any) -> None:
        norm.eps = eps

    return in_blocks(blocks, lambda block: change_each(block, NORMS, change))


def _swap(block: Any) -> int:
    leaves = list(iter_places(block, NORMS | ACTIVATIONS | WEIGHTED))
    pairs = [
        (one, two)
        for one, two in pairwise(leaves)
        if one.parent is two.parent and type(one.module).__name__ in NORMS and type(two.module).__name__ in ACTIVATIONS
    ]
    for one, two in pairs:
        one.put(two.module)
        two.put(one.module)
    return len(pairs)


def _for_batch_norm(block: Any) -> int:
    return replace_each(block, _BATCH, lambda norm: nn.GroupNorm(1, norm.num_features))


def _groups(_model: nn.Module, blocks: Any, groups: int) -> int:
    return in_blocks(
        blocks,
        lambda block: replace_each(
            block, frozenset({"GroupNorm"}), lambda norm: nn.GroupNorm(groups, norm.num_channels)
        ),
    )


_NORM = ("normalizer", "eval")
FAULTS = [
    Fault("normalizers missing", in_place(in_some(_without)), COUNTS, _NORM),
    Fault("one normalizer missing, from the first to the last", in_place(_without_one), (0.0, 0.34, 0.67, 1.0), _NORM),
    Fault("normalizers in eval mode", in_place(in_some(_frozen)), COUNTS, _NORM),
    Fault("normalizers' gains × s", in_place(_gamma), (1.05, 1.15, 1.5, 3.0), (*_NORM, "gain", "scale", "factor")),
    Fault("the last normalizer's gain is 0", in_place(in_some(_zero_last)), COUNTS, (*_NORM, "gain", "dead")),
    Fault("epsilon of the normalizers", in_place(_eps), (0.01, 0.1, 1.0, 10.0), (*_NORM, "scale", "factor", "gain")),
    Fault("normalizer and activation swapped", in_place(in_some(_swap)), COUNTS, (*_NORM, "activation", "mean")),
    Fault("GroupNorm for BatchNorm", in_place(in_some(_for_batch_norm)), COUNTS, _NORM),
    Fault("another number of groups", in_place(_groups), (2, 8, 1, 16), _NORM),
]
