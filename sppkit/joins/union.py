"""Passes that take different ways through one network: the union of their joins, and where each pass has them.

Layers that are skipped at random and networks that keep something from pass to pass have other joins in every pass. A
join is the same one in two passes where its branch ends in the same module.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sppkit.errors import MeasurementError
from sppkit.joins.plan import Plan, plan_sites

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sppkit.joins.joins import Findings, Join

# The module that it happens in, the last module of its branch, and its number among joins of the same two.
_Identity = tuple[str, str, int]


@dataclass(frozen=True)
class Ways:
    """What several passes have.

    Attributes:
        passes: What was found in each, not corrected.
        plans: Where each is listened to; sites of one row are equal in all.
        whole: The union, corrected: the rows of the table.
        plan: The union's plan.
    """

    passes: tuple[Findings, ...]
    plans: tuple[Plan, ...]
    whole: Findings
    plan: Plan


def unite(passes: Sequence[Findings], corrected: Sequence[Findings]) -> Ways:
    """Return the union of what was found in several passes of one network; a pass without any join adds nothing."""
    whole = next((found for found in corrected if found.kind != "module"), corrected[0])
    kind = whole.kind
    joins = [dict(_identified(found.joins if found.kind == kind else ())) for found in corrected]
    _check_told_apart(joins)
    order = _merge(joins)
    first = {each: next(found[each] for found in joins if each in found) for each in order}
    named = dict(zip(order, _renamed(first.values()), strict=True))
    whole = replace(whole, joins=tuple(named.values()))
    plan = plan_sites(whole)
    sites = {(site.block, site.role): site for site in plan.sites}
    blocks = {each: number for number, each in enumerate(order, 0 if kind == "module" else 1)}
    plans = []
    for found, own in zip(corrected, joins, strict=True):
        alone = plan_sites(replace(found, joins=tuple(own.values()))) if own else Plan()
        plans.append(alone.renumbered([0] * (kind != "module") + [blocks[each] for each in own], sites))
    return Ways(tuple(passes), tuple(plans), whole, plan)


def _identified(joins: Iterable[Join]) -> Iterator[tuple[_Identity, Join]]:
    seen: Counter[tuple[str, str]] = Counter()
    for join in joins:
        layer = join.name if join.kind == "module" else join.layer
        seen[join.path, layer] += 1
        yield (join.path, layer, seen[join.path, layer]), join


def _check_told_apart(passes: Sequence[dict[_Identity, Join]]) -> None:
    for found in passes:
        for path, layer, number in found:
            fewer = any((path, layer, number) not in other for other in passes if other)
            if number > 1 and fewer:
                raise MeasurementError(
                    f"passes take different ways, and the joins of {path or 'the model itself'} can't be told apart: "
                    f"{number} or more of them have no layer of their own.\n"
                    "Give each branch a module of its own, or measure in eval mode."
                )


def _merge(passes: Sequence[dict[_Identity, Join]]) -> list[_Identity]:
    """Return every join once: those of the longest pass, and what others have between."""
    order: list[_Identity] = []
    for found in sorted(passes, key=len, reverse=True):
        place = 0
        for each in found:
            if each in order:
                place = order.index(each) + 1
            else:
                order.insert(place, each)
                place += 1
    return order


def _renamed(joins: Iterable[Join]) -> list[Join]:
    """Return joins with names of their own: numbers count those of one call, of which a pass may have had fewer."""
    joins = list(joins)
    bases = [join.name.rpartition("#")[0] if join.name.rpartition("#")[2].isdigit() else join.name for join in joins]
    bases = [base or join.name for base, join in zip(bases, joins, strict=True)]
    several, seen = Counter(bases), Counter[str]()
    named = []
    for base, join in zip(bases, joins, strict=True):
        seen[base] += 1
        named.append(replace(join, name=f"{base}#{seen[base]}" if several[base] > 1 else base))
    return named
