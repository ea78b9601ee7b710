"""What was found in a forward pass: residual joins, why each was taken for one, and the sums that were not."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sppkit.joins.graph import Key

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
        order: Later values have larger numbers.
    """

    key: Key
    shape: tuple[int, ...]
    channel_axis: int | None
    operation: str
    order: int = 0

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
        beside: Branches of the same input that are added before this one, as they enter their sums; the block's branch
            is then the sum of all, as they enter.
        reason: Why it was taken for one.
        layer: Path of the last module inside its own that the branch went through; empty where there was none.
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
    beside: tuple[Value, ...] = ()
    reason: str = ""
    layer: str = ""

    @property
    def described(self) -> str:
        """Its shape, where skip and branch come from, and why it is a join."""
        if self.skip is None:
            return self.output.described
        branch = self.branch.place if self.branch is not None else "nowhere by itself"
        branch = " + ".join([*(value.place for value in self.beside), branch])
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
        unregistered: Parameters that the pass used and the model does not know: the path of the module that used each,
            and its number of values. Empty where the pass ran without gradients.
        parameters: The names of those that it knows, and the order of the value that each was first used for; likewise
            empty.
    """

    model: str
    joins: tuple[Join, ...]
    kind: Kind
    rejected: tuple[Rejected, ...] = ()
    concatenations: int = 0
    skipped: tuple[str, ...] = ()
    unregistered: tuple[tuple[str, int], ...] = ()
    parameters: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        """Return what was found in words, one line per join."""
        lines = [self.summary, *(f"{join.name}: {join.described}" for join in self.joins)]
        if self.rejected:
            lines += ["No joins:", *(f"{item.name}: {item.reason}" for item in self.rejected)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:  # what a notebook shows
        return f"<pre>{escape(str(self))}</pre>"

    @property
    def places(self) -> dict[str, tuple[Key, Key | None]]:
        """Where each join and its branch are made; a join that has another branch is another one."""
        return {join.name: (join.output.key, None if join.branch is None else join.branch.key) for join in self.joins}

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


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
