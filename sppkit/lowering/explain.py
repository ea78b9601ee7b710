"""What each module on the way to a network's sites makes of the signal: the answer to why a curve is as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sppkit.theory.gram.gram import Gram, squared_mean_and_variance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sppkit.lowering.curves import Kept
    from sppkit.sites import Site
    from sppkit.theory.gram.program import Program


class Part(NamedTuple):
    """One module's steps in one block.

    Attributes:
        block: Number of the row that they lead to.
        name: Its name.
        module: Where they happen.
        before: E x² in front of them; None where there is no signal before.
        after: E x² behind them.
        mean_share: Share of the channel squared mean in it.
    """

    block: int
    name: str
    module: str
    before: float | None
    after: float
    mean_share: float


def explain(program: Program, kept: Mapping[Site, Kept]) -> list[Part]:
    """Follow the signal from module to module.

    Args:
        program: The steps.
        kept: What is at each site, in the order of the pass.

    Returns:
        One entry for every module between two sites, in the order of the pass, as far as theory goes.
    """
    ends = [(item.step, site) for site, item in kept.items() if item.step is not None and site.role == "block_output"]
    needed = program.needed([step for step, _ in ends])
    powers = dict(_iter_powers(program, needed))
    parts, start = [], -1
    for end, site in ends:
        steps = [step for step in needed if start < step <= end and step in powers]
        parts += list(_iter_parts(program, steps, powers, site))
        start = max(start, end)
    return parts


def _iter_powers(program: Program, needed: list[int]) -> Iterator[tuple[int, tuple[float, float]]]:
    for step, gram in program.follow(needed):
        if isinstance(gram, Gram):
            squared_mean, variance = squared_mean_and_variance(gram)
            yield step, (squared_mean, squared_mean + variance)


def _iter_parts(
    program: Program, steps: list[int], powers: Mapping[int, tuple[float, float]], site: Site
) -> Iterator[Part]:
    """Yield steps that follow each other in one module as one part."""
    for index, step in enumerate(steps):
        where = program.steps[step].where
        if index + 1 < len(steps) and program.steps[steps[index + 1]].where == where:
            continue
        first = index
        while first > 0 and program.steps[steps[first - 1]].where == where:
            first -= 1
        sources = [source for source in program.steps[steps[first]].inputs if source in powers]
        before = powers[sources[0]][1] if sources else None
        squared_mean, power = powers[step]
        yield Part(site.block, site.name, where, before, power, squared_mean / power if power > 0 else 0.0)
