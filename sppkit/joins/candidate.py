"""A sum or concatenation while it is being judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sppkit.joins.graph import Node
    from sppkit.joins.joins import Kind


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
        sides: Both operands, in the order of the code.
        branch_axis: Axis of the branch's channels.
        beside: Branches that are added in the same block before this one, as they enter their sums.
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
    sides: tuple[Node, ...] = ()
    branch_axis: int | None = None
    beside: tuple[Node, ...] = ()
