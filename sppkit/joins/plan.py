"""From what was found to the sites that the rows of a table are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Literal

from sppkit.joins.judge import IDENTITY
from sppkit.sites import Role, Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sppkit.joins.graph import Key
    from sppkit.joins.joins import Findings, Join, Value


@dataclass
class Plan:
    """The sites of what was found, and what is made at each.

    Attributes:
        sites: In the order of the table.
        keys: Where each site's signal is made.
        at: The sites of every place.
        identities: Blocks whose skip is the value of the row before, from which alone their branch is computed.
        terms: Of branches that are a sum of several signals, how many.
    """

    sites: list[Site] = field(default_factory=list)
    keys: dict[Site, Key] = field(default_factory=dict)
    at: dict[Key, list[Site]] = field(default_factory=dict)
    identities: set[int] = field(default_factory=set)
    terms: dict[Site, int] = field(default_factory=dict)

    def add(self, site: Site, value: Value, beside: Sequence[Value] = ()) -> None:
        """Add a site, whose signal is the sum of a value and of those beside it."""
        self.sites.append(site)
        self.keys[site] = value.key
        for term in (value, *beside):
            self.at.setdefault(term.key, []).append(site)
        if beside:
            self.terms[site] = 1 + len(beside)

    def renumbered(self, blocks: Sequence[int], sites: Mapping[tuple[int, Role], Site]) -> Plan:
        """Return the same places with the sites of another plan: its block for each of these."""
        plan = Plan(identities={blocks[block] for block in self.identities})
        new = {site: sites[blocks[site.block], site.role] for site in self.sites}
        plan.sites = list(new.values())
        plan.keys = {new[site]: key for site, key in self.keys.items()}
        plan.at = {key: [new[site] for site in those] for key, those in self.at.items()}
        plan.terms = {new[site]: terms for site, terms in self.terms.items()}
        return plan


def plan_sites(findings: Findings) -> Plan:
    """Turn what was found into the sites that the rows of a table are made of.

    Row 0 is the input of the first block; a new stage begins where the output's channels or resolution change. A model
    without joins has one row per leaf module and no stages.
    """
    plan = Plan()
    if findings.kind == "module":
        for block, leaf in enumerate(findings.joins):
            plan.add(_site(block, None, leaf.name, "block_output", leaf.output), leaf.output)
        return plan
    first = findings.joins[0].input or findings.joins[0].skip
    if first is not None:
        name = "input" if first.key.call == 0 else "stem"
        plan.add(_site(0, 0, name, "block_output", first), first)
    for block, (stage, join) in enumerate(_iter_stages(findings.joins), 1):
        if join.branch is not None:
            plan.add(_site(block, stage, join.name, "residual_branch", join.branch), join.branch, join.beside)
        plan.add(_site(block, stage, join.name, "block_output", join.output), join.output)
        if join.reason == IDENTITY and join.skip is not None and first is not None and join.skip.key == first.key:
            plan.identities.add(block)
        first = join.output
    return plan


def _site(
    block: int, stage: int | None, name: str, role: Literal["block_output", "residual_branch"], value: Value
) -> Site:
    return Site(block, stage, name, role, value.key.path, value.channel_axis)


def _iter_stages(joins: Sequence[Join]) -> Iterator[tuple[int, Join]]:
    stage, last = 0, None
    for join in joins:
        size = _size(join)
        stage += size != last
        last = size
        yield stage, join


def _size(join: Join) -> tuple[int, int]:
    """Return the channels and the positions of a block's output.

    Positions, not height and width: blocks may go from (N, H, W, C) to (N, H W, C) and back. Of a concatenation only
    the positions count, because every block adds channels.
    """
    shape, axis = join.output.shape, join.output.axis
    positions = prod(size for index, size in enumerate(shape) if index not in {0, axis})
    return shape[axis] if join.kind == "addition" else 0, positions
