"""What was found in a forward pass: residual joins, why each was taken for one, and the sums that were not."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Literal

from sppkit.joins.judge import IDENTITY
from sppkit.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.joins.graph import Key, Node

Kind = Literal["addition", "concatenation", "module"]


@dataclass(frozen=True)
class Value:
    """One value of the forward pass, as a place to listen at.

    Attributes:
        key: Where it is made.
        shape: Its shape in the pass that it was found in.
        channel_axis: Axis of its channels; None where that could not be told, which stands for axis 1, and for the last
            axis of three.
        operation: What makes it, for instance ``convolution``; ``input`` for an input of the model.
    """

    key: Key
    shape: tuple[int, ...]
    channel_axis: int | None
    operation: str

    @property
    def place(self) -> str:
        """Where it is made, to read: the operation and the module it happens in."""
        if self.key.call == 0:
            return "the model's input"
        call = f" (call {self.key.call})" if self.key.call > 1 else ""
        return f"{self.operation} in {self.key.path or 'the model itself'}{call}"

    @property
    def axis(self) -> int:
        """Axis of the channels, counted from 0."""
        axis = self.channel_axis
        if axis is None:
            return len(self.shape) - 1 if len(self.shape) == 3 else 1
        return axis % len(self.shape)

    @property
    def described(self) -> str:
        """Its shape, the channels marked: ``4×[64]×56×56``."""
        return "×".join(f"[{size}]" if index == self.axis else str(size) for index, size in enumerate(self.shape))


@dataclass(frozen=True)
class Join:
    """A place where a branch meets the signal that went around it.

    Attributes:
        name: Path of the module that it happens in; ``@2`` is added for its second call, ``#2`` for the second join of
            one call.
        path: That path alone.
        kind: ``addition``, ``concatenation``, or ``module`` for a leaf of a model without joins.
        output: After the join.
        order: Later joins have larger numbers.
        input: What the block starts from; None for a module.
        skip: What went around the branch, as it enters the join; None for a module.
        branch: The end of the branch before its scale (alpha, skip gain, layer scale, stochastic depth); None for a
            module and where the branch is never in memory by itself.
        scaled_branch: The branch as it enters the join.
        reason: Why it was taken for one.
    """

    name: str
    path: str
    kind: Kind
    output: Value
    order: int
    input: Value | None = None
    skip: Value | None = None
    branch: Value | None = None
    scaled_branch: Value | None = None
    reason: str = ""

    @property
    def described(self) -> str:
        """Its shape, where skip and branch come from, and why it is a join."""
        if self.skip is None:
            return self.output.described
        branch = self.branch.place if self.branch is not None else "nowhere by itself"
        return f"{self.output.described}; branch: {branch}; skip: {self.skip.place}; {self.reason}"


@dataclass(frozen=True)
class Rejected:
    """A sum of two signals that is no residual join.

    Attributes:
        name: Path of the module that it happens in, and ``~1`` for its first sum that is no join.
        join: What it would be if it were one.
        reason: Why it is none.
    """

    name: str
    join: Join
    reason: str


@dataclass(frozen=True)
class Findings:
    """What was found in one forward pass of a model.

    Attributes:
        model: Name of its class.
        joins: The rows of the table, without row 0: residual joins, else concatenations, else the leaf modules.
        kind: What they are.
        rejected: Sums that are no joins.
        concatenations: How many concatenations go unused because there are additions.
        skipped: Leaf modules that have no row, and why.
    """

    model: str
    joins: tuple[Join, ...]
    kind: Kind
    rejected: tuple[Rejected, ...] = ()
    concatenations: int = 0
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what was found in words, one line per join."""
        lines = [self.summary, *(f"{join.name}: {join.described}" for join in self.joins)]
        if self.rejected:
            lines += ["No joins:", *(f"{item.name}: {item.reason}" for item in self.rejected)]
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """How many of what were found, in a sentence or two."""
        count = len(self.joins)
        if self.kind == "module":
            return f"{self.model} has no residual joins; it is measured at its {_counted(count, 'leaf module')}."
        if self.kind == "concatenation":
            return (
                f"{self.model} has no residual additions; {_counted(count, 'concatenation')} append features instead."
            )
        joins = f"{self.model} has {_counted(count, 'residual join')}."
        if self.concatenations == 0:
            return joins
        return f"{joins} {_counted(self.concatenations, 'concatenation')} that append features are not counted."


@dataclass
class Candidate:
    """A sum or concatenation that was met in a forward pass, judged.

    Attributes:
        output: What it makes.
        kind: Addition or concatenation.
        ordinal: Number of the sum in its module's call, from 1.
        reason: Why it is a join, or why not.
        accepted: Whether it is one.
        identity: Whether the skip carries the block's input, or a part of it, as it is.
        projected: Whether it carries a linear function of it.
        partial: Whether it carries a part of it.
        origin: The nearest common origin of both sides.
        input: What the block starts from.
        skip: The operand that is the skip.
        branch: The branch before its scale.
        scaled: The operand that is the branch.
        root: The skip without its scales.
        branch_axis: Axis of the branch's channels.
    """

    output: Node
    kind: Kind
    ordinal: int
    reason: str = ""
    accepted: bool = False
    identity: bool = False
    projected: bool = False
    partial: bool = False
    origin: Node | None = None
    input: Node | None = None
    skip: Node | None = None
    branch: Node | None = None
    scaled: Node | None = None
    root: Node | None = None
    branch_axis: int | None = None


@dataclass
class Plan:
    """The sites of what was found, and what is made at each.

    Attributes:
        sites: In the order of the table.
        keys: Where each site's signal is made.
        at: The sites of every place.
        identities: Blocks whose skip is the value of the row before, from which alone their branch is computed.
    """

    sites: list[Site] = field(default_factory=list)
    keys: dict[Site, Key] = field(default_factory=dict)
    at: dict[Key, list[Site]] = field(default_factory=dict)
    identities: set[int] = field(default_factory=set)

    def add(self, site: Site, value: Value) -> None:
        """Add a site."""
        self.sites.append(site)
        self.keys[site] = value.key
        self.at.setdefault(value.key, []).append(site)


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
            plan.add(_site(block, stage, join.name, "residual_branch", join.branch), join.branch)
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


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
