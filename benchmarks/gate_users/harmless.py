"""False alarms: many groups of four seeds of each network held against one another, as they are and refactored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.gate_users.interface import Measured, UsageError, as_baseline, judge, measure
from benchmarks.gate_users.networks.network import Network
from benchmarks.gate_users.refactorings import KEEPS, NothingToRefactorError, Refactoring, applies
from benchmarks.gate_users.store import kept

SEEDS = 4
# Groups of seeds of each refactoring: the baseline's own, and others.
_CHANGED = 2


def measure_groups(network: Network, groups: int) -> list[Measured]:
    """Measure the network with seeds 0 to 3, 4 to 7, and so on."""
    return [
        kept(f"{network.name}+seeds {first}", partial(measure, network, first))
        for first in range(0, SEEDS * groups, SEEDS)
    ]


def measure_changed(network: Network, refactoring: Refactoring, first: int) -> Measured | None:
    """Measure a refactored network; None where there is nothing to refactor."""
    key = f"{network.name}+{refactoring.kind}+seeds {first}"
    return kept(key, partial(_measure_changed, network, refactoring, first))


def _measure_changed(network: Network, refactoring: Refactoring, first: int) -> Measured | None:
    before = torch.get_num_threads()
    torch.set_num_threads(refactoring.threads)
    try:
        return measure(network, first, plant=refactoring.plant, **refactoring.options)
    except UsageError as error:
        if not isinstance(error.__cause__, NothingToRefactorError):
            raise
        return None
    finally:
        torch.set_num_threads(before)


def try_network(network: Network, groups: int) -> Iterator[dict[str, Any]]:
    """Yield how often each kind of harmless change raised an alarm."""
    measured = measure_groups(network, groups)
    bases = [as_baseline(group) for group in measured]
    others = [(new, base) for one, new in enumerate(measured) for two, base in enumerate(bases) if one != two]
    yield _count(network, "other seeds", "other", others)
    for refactoring in KEEPS:
        if not applies(refactoring, network.name):
            continue
        changed = [measure_changed(network, refactoring, SEEDS * group) for group in range(_CHANGED)]
        pairs = [(one == two, new, base) for one, new in enumerate(changed) for two, base in enumerate(bases) if new]
        if pairs:
            yield _count(network, refactoring.kind, "same", [(new, base) for same, new, base in pairs if same])
            yield _count(network, refactoring.kind, "other", [(new, base) for same, new, base in pairs if not same])


def _count(network: Network, kind: str, seeds: str, pairs: list[tuple[Measured, Any]]) -> dict[str, Any]:
    verdicts = [judge(new, base) for new, base in pairs]
    alarms = [verdict for verdict in verdicts if verdict.exit_code != 0]
    told: Counter[str] = Counter(
        verdict.missing or f"{verdict.first.kind}: {verdict.first.statistic}" for verdict in alarms
    )
    return {
        "network": network.name,
        "kind": kind,
        "seeds": seeds,
        "comparisons": len(verdicts),
        "alarms": len(alarms),
        "told": dict(told.most_common(3)),
    }
