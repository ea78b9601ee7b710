"""Where to listen: a module's output and the role that it plays in the residual network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

# One of each in a block: declared by a model, or found at its residual joins.
Role = Literal["block_output", "residual_branch"]
# The backward direction: the gradient at a block's output, and the pair of gradients at its input and output.
GradientRole = Literal["block_gradient", "branch_gradient"]
# Any number of each in a block: found by the kind of module or operation, in whatever model.
LayerRole = Literal["activation", "activation_input", "activation_slope", "attention", "normalizer_input", "weights"]


@dataclass(frozen=True)
class Site:
    """One place in a network whose signal is reduced to numbers.

    Attributes:
        block: Row of the table: 0 is the input of the first residual block, k its k-th block.
        stage: 0 for the stem, then from 1; None where the model has none.
        name: What the row is called.
        role: ``block_output`` (after the addition) or ``residual_branch`` (its end, before any scale).
        path: Qualified name of the module whose output is the signal.
        channel_axis: Axis of the channels; negative ones count from the end. None stands for 1, and for the last axis
            of a signal with three, which is (N, T, C): a transformer's samples, tokens and features.
    """

    block: int
    stage: int | None
    name: str
    role: Role
    path: str
    channel_axis: int | None = None

    def __hash__(self) -> int:
        # One of each in a block, and quicker than the hash of all fields, which is asked for several times in a hook.
        return hash((self.block, self.role))


@runtime_checkable
class DeclaresSites(Protocol):
    """A model that says where its residual blocks are."""

    def signal_sites(self) -> Sequence[Site]:
        """Return the sites in execution order."""
        ...
