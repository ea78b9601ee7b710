"""Changes that must not fail: other seeds, batch sizes, thread counts, names, and code that computes the same."""

from __future__ import annotations

import types
from collections.abc import Iterator
from itertools import permutations
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

import sppkit
from benchmarks.gate.faults import blocks_of, branch_of, prepare
from benchmarks.gate.margins import margin
from benchmarks.gate.networks import Case
from sppkit.gate.baseline import Baseline
from sppkit.models.resnet import PreActivationResNet

# Each changed side is compared with six baselines: six times the comparisons for the price of one measurement.
BASES = [list(range(first, first + 4)) for first in range(0, 60, 10)]
CASES = [
    Case("nf-resnet"),
    Case("nf-resnet", {"alpha": 1.0}),
    Case("nf-resnet", {"alpha": 1.0, "padding": "circular"}),
    Case("nf-resnet", {"activation": "silu", "se": True}),
    Case("nf-resnet", {"stages": (2, 2, 2, 2), "block": "basic"}),
    Case("nf-resnet", {"stages": (2, 2, 2, 2)}, width=0.125),
    Case("nf-resnet", {"stem": "cifar"}, image_size=32),
    Case("nf-resnet", image_size=32, width=0.125),
    Case("bn-relu-conv"),
    Case("bn-relu-conv", {"stages": (2, 2, 2, 2)}, width=0.125),
    Case("bn-relu-conv", {"activation": "gelu"}),
    Case("bn-relu-conv", {"se": True}),
    Case("bn-relu-conv", {"block": "basic"}, width=0.5),
    Case("bn-relu-conv", {"stem": "cifar"}, image_size=32),
    Case("bn-relu-conv", image_size=32, width=0.125),
    Case("relu-bn-conv"),
    Case("relu-bn-conv", {"stages": (2, 2, 2, 2)}, width=0.125),
    Case("relu-bn-conv", {"activation": "silu"}),
    Case("relu-bn-conv", image_size=32, width=0.125),
    Case(""),
    Case("", width=0.125, image_size=32),
]


class Kind(NamedTuple):
    """A kind of harmless change, and how often it is tried for each network."""

    name: str
    times: int


KINDS = [
    Kind("other seeds", 12),
    Kind("one seed instead of four", 5),
    Kind("batch size halved", 3),
    Kind("batch size doubled", 3),
    Kind("blocks renamed, weights drawn anew", 3),
    Kind("the block's addition rewritten", 2),
    Kind("built in another order", 2),
    Kind("two threads", 1),
]


def measure_all(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield one row per comparison."""
    for case in CASES[9::11] if quick else CASES:
        yield from measure_case(case, quick=quick)


def measure_case(case: Case, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield one row per comparison of one network."""
    bases = [Baseline("base", case.measure(seeds), case.record(seeds), {}) for seeds in (BASES[:2] if quick else BASES)]
    fresh, drawn = 1000, []
    for kind in KINDS:
        for _ in range(1 if quick else kind.times):
            seeds = list(range(fresh, fresh + 4))
            fresh += 4
            table, record = _measure(case, kind.name, seeds)
            for base in bases:
                yield _compare(case, kind.name, table, record, base)
            if kind.name == "other seeds":
                drawn.append((table, record))
    for (table, record), (base, base_record) in permutations(drawn, 2):
        yield _compare(case, "other seeds", table, record, Baseline("base", base, base_record, {}))


def _compare(case: Case, kind: str, table: pd.DataFrame, record: dict[str, Any], base: Baseline) -> dict[str, Any]:
    verdict = sppkit.check(table, baseline=base, record=record)
    sure, every = margin(table, base.table, record, base.record)
    told = [f"{item.kind}: {item.statistic} at block {item.block}, ×{item.ratio:.3g}" for item in verdict.errors[:3]]
    return {"network": case.name, "kind": kind, "exit": verdict.exit_code, "sure": sure, "every": every, "errors": told}


def _measure(case: Case, kind: str, seeds: list[int]) -> tuple[pd.DataFrame, dict[str, Any]]:
    if kind == "one seed instead of four":
        seeds = seeds[:1]
    if kind.startswith("batch size"):
        size = case.batch_size // 2 if kind.endswith("halved") else case.batch_size * 2
        case = Case(case.arch, case.options, case.width, case.image_size, size)
    if kind == "two threads":
        return _with_threads(case, seeds)
    change = {"the block's addition rewritten": _rewrite, "built in another order": _reorder}.get(kind)
    table = case.measure(seeds, change)
    if kind.startswith("blocks renamed"):
        table["name"] = table["name"].str.replace("blocks.", "layers.", regex=False)
    return table, case.record(seeds)


def _with_threads(case: Case, seeds: list[int]) -> tuple[pd.DataFrame, dict[str, Any]]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return case.measure(seeds), case.record(seeds)
    finally:
        torch.set_num_threads(before)


def _rewrite(model: nn.Module) -> None:
    """Write each block's addition out, as a refactoring may: the same up to rounding."""

    def forward(block: Any, x: Tensor) -> Tensor:
        prepared = prepare(block, 0, x)
        if block.se is not None:
            return type(block).forward(block, x)
        branch = branch_of(block, prepared).mul(block.skip_gain).mul(block.alpha)
        return branch.add(x if block.shortcut is None else block.shortcut(prepared))

    for block in blocks_of(model):
        if hasattr(block, "skip_gain") and block.convolutions == 3:
            block.forward = types.MethodType(forward, block)


def _reorder(model: nn.Module) -> None:
    """Draw a user's weights in another order, as code that builds its modules in another order does."""
    if isinstance(model, PreActivationResNet):
        return  # each parameter has a stream of its own: nothing changes
    for module in reversed(list(model.modules())):
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.reset_parameters()


def pictures_allowed() -> list[dict[str, Any]]:
    """Judge photographs instead of noise by policy alone, without a baseline."""
    from skimage import data

    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    batch = torch.stack([_cut(torch.from_numpy(picture)) for picture in photographs])
    rows = []
    for arch in ("bn-relu-conv", "relu-bn-conv", "nf-resnet"):
        case = Case(arch, batch_size=len(photographs))
        tables = [sppkit.measure(case.build(seed).train(), batch, seed=seed) for seed in range(4)]
        record = case.record(list(range(4)))
        record["input"] = {**record["input"], "kind": "pictures"}
        verdict = sppkit.check(pd.concat(tables, ignore_index=True), record=record)
        told = [f"{item.statistic} at block {item.block}, ×{item.ratio:.3g}" for item in verdict.errors[:3]]
        rows.append({
            "network": case.name,
            "kind": "photographs, by policy alone",
            "exit": verdict.exit_code,
            "errors": told,
        })
    return rows


def _cut(picture: Tensor, size: int = 64) -> Tensor:
    pixels = picture[:256, :256].permute(2, 0, 1).float() / 255
    small = nn.functional.interpolate(pixels[None], size, mode="area")[0]
    return (small - small.mean((1, 2), keepdim=True)) / small.std((1, 2), keepdim=True)
