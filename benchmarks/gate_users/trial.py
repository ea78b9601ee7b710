"""One trial: a fault planted in a network, the gate's verdict, and truth."""

from __future__ import annotations

import time
from functools import cache, partial
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.gate_users.causes import judge_cause
from benchmarks.gate_users.faults.fault import Fault, NotApplicableError
from benchmarks.gate_users.interface import Measured, as_baseline, judge, measure
from benchmarks.gate_users.networks.network import Network
from benchmarks.gate_users.store import kept
from benchmarks.gate_users.truth import Point, Truth, compare, listen

SEEDS = 4
# Where other weights are drawn, four seeds say little of what a change does.
_SEEDS_OF_TRUTH = 16
# Rows that differ by less are equal: rounding, and other kernels.
_SAME = 1e-4
# A hundredth of what matters: there is nothing to see, and nothing is measured.
_NOTHING = 0.01
_PLACES = {"seed", "block", "stage", "name", "channels", "height", "width", "nonfinite"}


class Planted(NamedTuple):
    """A faulty network as it was measured; None where the network has no place for the fault."""

    measured: Measured | None
    truth: Truth | None
    error: str = ""


def plant(network: Network, fault: Fault, strength: Any, *, fresh: bool = False) -> Planted:
    """Measure a faulty network, or take what was measured before."""
    return kept(f"{network.name}+{fault.kind}+{strength}", partial(_plant, network, fault, strength), fresh=fresh)


def _plant(network: Network, fault: Fault, strength: Any) -> Planted:
    def planter(make: Any) -> Any:
        return fault.plant(make, network, strength)

    try:
        with_seeds = range(_SEEDS_OF_TRUTH if fault.redraws else SEEDS)
        heard = [listen(network, seed, planter) for seed in with_seeds]
    except (NotApplicableError, RuntimeError):  # no place, or it doesn't run: circular padding on 1x1 maps
        return Planted(None, None)
    truth = compare([heard_clean(network, seed) for seed in with_seeds], heard)
    if truth.size < _NOTHING and not fault.redraws:
        return Planted(None, truth)
    try:
        return Planted(measure(network, plant=planter), truth)
    except Exception as error:  # noqa: BLE001 - whatever a faulty network raises is a result
        return Planted(None, truth, f"{type(error).__name__}: {error}")


@cache
def heard_clean(network: Network, seed: int) -> list[Point]:
    return listen(network, seed, None)


def clean(network: Network, *, fresh: bool = False) -> Measured:
    """Measure the network without a fault: its baseline."""
    return kept(f"{network.name}+clean", partial(measure, network), fresh=fresh)


def try_fault(network: Network, fault: Fault, strength: Any, *, fresh: bool = False) -> dict[str, Any] | None:
    """Plant a fault and judge it; None where the network has no place for it."""
    planted = plant(network, fault, strength, fresh=fresh)
    if planted.truth is None:
        return None
    row = {
        "network": network.name,
        "kind": fault.kind,
        "strength": strength,
        "index": fault.strengths.index(strength),
        "paired": not fault.redraws,
        "matters": planted.truth.matters,
        "size": planted.truth.size,
        "moved": planted.truth.statistic,
        "error": planted.error,
    }
    if planted.measured is None:
        return row
    return row | _judged(planted.measured, clean(network), fault)


def _judged(new: Measured, base: Measured, fault: Fault) -> dict[str, Any]:
    started = time.perf_counter()
    verdict = judge(new, as_baseline(base))
    seconds = time.perf_counter() - started
    first, changed = verdict.first if verdict.errors else None, first_changed(new.table, base.table)
    return {
        "changed": changed,
        "exit": verdict.exit_code,
        "missing": verdict.missing,
        "by": sorted({finding.kind for finding in verdict.errors}),
        "first": None if first is None else first.block,
        "statistic": "" if first is None else first.statistic,
        "cause": "" if first is None else first.cause,
        "located": None if first is None or changed is None or fault.redraws else changed <= first.block <= changed + 1,
        "begins": None if changed is None or fault.redraws else _names(verdict, new.table, changed),
        "explained": "" if first is None else judge_cause(first.cause, fault.concepts),
        "seconds": round(seconds, 4),
    }


def _names(verdict: Any, table: pd.DataFrame, row: int) -> bool:
    """Say whether the verdict names the row as the one from which on sides differ, where it holds findings or not."""
    names = list(dict.fromkeys(table["name"]))
    return row < len(names) and any(f" {names[row]} " in text for text in verdict.tests)


def first_changed(new: pd.DataFrame, base: pd.DataFrame) -> int | None:
    """Return the first row of which any statistic of any seed differs; None where none does."""
    names = [list(dict.fromkeys(table["name"])) for table in (new, base)]
    for place, (one, two) in enumerate(zip(*names, strict=False)):
        if one != two or not _alike(new[new["name"] == one], base[base["name"] == two]):
            return place
    return None if len(names[0]) == len(names[1]) else min(map(len, names))


def _alike(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    for column in [name for name in one.columns if name not in _PLACES and not name.startswith("predicted_")]:
        left, right = (side[column].to_numpy("float64", na_value=float("nan")) for side in (one, two))
        if ((abs(left - right) > _SAME * abs(right)) | (pd.isna(left) != pd.isna(right))).any():
            return False
    return True
