"""A network as the steps that its signals take, and what they make of the inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sppkit.theory.gram.gram import OutOfReachError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


@dataclass(frozen=True)
class End:
    """Where what theory knows ends.

    Attributes:
        where: The module.
        why: The reason in a few words.
    """

    where: str
    why: str


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        apply: From the inputs to the output: signals, or numbers of each position.
        inputs: Numbers of the steps that they come from.
        where: The module that it happens in.
    """

    apply: Callable[..., Any]
    inputs: tuple[int, ...]
    where: str


@dataclass
class Program:
    """Steps in the order of execution; a step is named by its number."""

    steps: list[Step] = field(default_factory=list)

    def add(self, apply: Callable[..., Any], *inputs: int, where: str) -> int:
        """Add a step.

        Args:
            apply: From the inputs to the output.
            *inputs: The steps that they come from.
            where: The module that it happens in.

        Returns:
            The step's number.
        """
        self.steps.append(Step(apply, inputs, where))
        return len(self.steps) - 1

    def follow(self, wanted: Collection[int]) -> Iterator[tuple[int, Any]]:
        """Follow the signals; each is let go when nothing needs it any more.

        Args:
            wanted: The steps whose outputs are asked for.

        Yields:
            A wanted step's number and its output, or the ``End`` before it.
        """
        needed = self.needed(wanted)
        last = {source: number for number in needed for source in self.steps[number].inputs}
        outputs: dict[int, Any] = {}
        for number in needed:
            step = self.steps[number]
            outputs[number] = self._apply(step, [outputs[source] for source in step.inputs])
            if number in wanted:
                yield number, outputs[number]
            for source in {*step.inputs, number}:
                if last.get(source, number) <= number:
                    outputs.pop(source, None)

    def needed(self, wanted: Collection[int]) -> list[int]:
        """Return all steps that lead to some, these included.

        Args:
            wanted: The steps.

        Returns:
            Their numbers, in order.
        """
        found, stack = set(wanted), list(wanted)
        while stack:
            fresh = [source for source in self.steps[stack.pop()].inputs if source not in found]
            found.update(fresh)
            stack += fresh
        return sorted(found)

    @staticmethod
    def _apply(step: Step, inputs: list[Any]) -> Any:
        for item in inputs:
            if isinstance(item, End):
                return item
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                return step.apply(*inputs)
        except OutOfReachError as error:
            return End(step.where, str(error))
