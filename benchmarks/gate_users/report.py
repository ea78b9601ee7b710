"""The trials as a page: a detection curve per kind, what is missed, what is explained wrongly, what alarms."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

from benchmarks.gate_users.faults import activations, biases, branches, layout, norms, weights

Row = dict[str, Any]
# As long a list as somebody reads.
_MOST = 60
# The four strengths of each kind ascend, and mean something else in each.
_FAMILIES = {
    "means: biases, weights or an input with a mean": biases,
    "activations: a constant, a factor, another one, none": activations,
    "weights: a factor, another law, dead channels": weights,
    "additions: factors on branch and skip, dropout": branches,
    "normalizers: missing, in eval mode, elsewhere": norms,
    "layout: pools, padding, attention, precision": layout,
}
_SIZES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, math.inf)


def render_faults(rows: list[Row]) -> str:
    """Return the faults' page in Markdown."""
    matter = [row for row in rows if row["matters"]]
    parts = [
        "# Faults planted in users' models",
        "\n".join(_iter_summary(rows, matter)),
        "## By network",
        _table("network", matter),
        "## By family and strength",
        _families(matter),
        "## By how much it matters",
        _by_size(rows),
        "## By kind and strength",
        "Caught of those that matter, at each of four strengths; what does not matter in parentheses: caught of all.",
        _curves(rows),
        "## Missed",
        _listed(row for row in matter if not _caught(row)),
        "## Explained wrongly",
        _listed(row for row in rows if row.get("explained") == "wrong"),
        "## Found elsewhere",
        _listed(row for row in matter if _caught(row) and row["located"] is False),
    ]
    return "\n\n".join(parts) + "\n"


def render_harmless(rows: list[Row]) -> str:
    """Return the false alarms' page in Markdown."""
    lines = ["# Harmless changes of users' models", "", *_iter_rates("network", rows), "", *_iter_rates("kind", rows)]
    told = [f"- {row['network']}, {row['kind']} ({row['seeds']} seeds): {row['alarms']} of {row['comparisons']}, "
            f"{row['told']}" for row in rows if row["alarms"]]  # fmt: skip
    return "\n".join([*lines, "", "## Alarms", "", *told[:_MOST]]) + "\n"


def _caught(row: Row) -> bool:
    return row.get("exit") == 1


def _iter_summary(rows: list[Row], matter: list[Row]) -> Iterator[str]:
    for name, group in (("paired", True), ("other weights drawn", False)):
        yield f"- {name}: {_told([row for row in matter if row['paired'] is group])}"
    yield f"- that do not matter: {_told([row for row in rows if not row['matters']])}"
    yield f"- failed to be measured: {sum(bool(row['error']) for row in rows)}"
    unchanged = [row for row in rows if row.get("exit") == 1 and row["changed"] is None]
    yield f"- alarms where no row differs: {len(unchanged)}"


def _told(rows: list[Row]) -> str:
    caught = [row for row in rows if _caught(row)]
    placed = [row for row in caught if row["located"] is not None]
    located = _share([row for row in placed if row["located"]], placed)
    begun = _share([row for row in placed if row["begins"]], placed)
    right, wrong = (_share([row for row in caught if row["explained"] == word], caught) for word in ("right", "wrong"))
    return (
        f"{len(rows)} trials, {_share(caught, rows)} caught; of these {located} located, {begun} with the first "
        f"changed row named, cause right {right}, wrong {wrong}"
    )


def _share(some: list[Row], of: list[Row]) -> str:
    return f"{len(some)} ({100 * len(some) / len(of):.1f} %)" if of else "0"


def _groups(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def _table(key: str, matter: list[Row]) -> str:
    lines = [f"| {key} | matter | caught | located | cause right | cause wrong |", "|---|--:|--:|--:|--:|--:|"]
    for name, rows in _groups(matter, lambda row: row[key]).items():
        caught = [row for row in rows if _caught(row)]
        counts = [
            len(rows),
            len(caught),
            sum(row["located"] is True for row in caught),
            *(sum(row["explained"] == word for row in caught) for word in ("right", "wrong")),
        ]
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def _families(matter: list[Row]) -> str:
    """Return a detection curve for each family of kinds."""
    lines = [
        "| family | kinds | 1 | 2 | 3 | 4 | located | cause right | wrong |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, module in _FAMILIES.items():
        kinds = {fault.kind for fault in module.FAULTS}
        rows = [row for row in matter if row["kind"] in kinds]
        caught = [row for row in rows if _caught(row)]
        counts = [
            sum(row["located"] is True for row in caught),
            *(sum(row["explained"] == word for row in caught) for word in ("right", "wrong")),
        ]
        cells = [_cell([row for row in rows if row["index"] == index]) for index in range(4)]
        lines.append(f"| {name} | {len(kinds)} | {' | '.join([*cells, *map(str, counts)])} |")
    return "\n".join(lines)


def _by_size(rows: list[Row]) -> str:
    """Return the share caught over what a change moves, in units of what just matters."""
    lines = ["| moves × what matters | paired | caught | other weights | caught |", "|---|--:|--:|--:|--:|"]
    for low, high in pairwise(_SIZES):
        inside = [row for row in rows if low <= row["size"] < high]
        groups = [[row for row in inside if row["paired"] is paired] for paired in (True, False)]
        cells = [str(value) for group in groups for value in (len(group), sum(map(_caught, group)))]
        lines.append(f"| {low:g} to {high:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _curves(rows: list[Row]) -> str:
    lines = ["| kind | strengths | 1 | 2 | 3 | 4 |", "|---|---|--:|--:|--:|--:|"]
    for kind, group in _groups(rows, lambda row: row["kind"]).items():
        by_index = _groups(group, lambda row: row["index"])
        strengths = ", ".join(f"{by_index[index][0]['strength']:g}" for index in sorted(by_index))
        lines.append(f"| {kind} | {strengths} | {' | '.join(_cell(by_index[index]) for index in range(4))} |")
    return "\n".join(lines)


def _cell(rows: list[Row]) -> str:
    matter = [row for row in rows if row["matters"]]
    rest = [row for row in rows if not row["matters"]]
    told = f"{sum(map(_caught, matter))}/{len(matter)}"
    return f"{told} ({sum(map(_caught, rest))}/{len(rest)})" if rest else told


def _listed(rows: Iterable[Row]) -> str:
    found = sorted(rows, key=lambda row: -row["size"])
    lines = [_line(row) for row in found[:_MOST]]
    return "\n".join([*lines, *([f"- and {len(found) - _MOST} more"] if len(found) > _MOST else [])]) or "- none"


def _line(row: Row) -> str:
    said = row["error"] or row.get("missing") or row.get("cause") or ""
    return (
        f"- {row['network']}: {row['kind']} {row['strength']:g} (moved {row['moved']}, ×{row['size']:.1f} of what "
        f"matters; row {row.get('changed')}, found at {row.get('first')}) {said}"
    )


def _iter_rates(key: str, rows: list[Row]) -> Iterator[str]:
    yield f"| {key} | same seeds | alarms | other seeds | alarms |"
    yield "|---|--:|--:|--:|--:|"
    for name, group in [*_groups(rows, lambda row: row[key]).items(), ("all", rows)]:
        cells = [
            sum(row[what] for row in group if row["seeds"] == seeds)
            for seeds in ("same", "other")
            for what in ("comparisons", "alarms")
        ]
        yield f"| {name} | {' | '.join(map(str, cells))} |"
