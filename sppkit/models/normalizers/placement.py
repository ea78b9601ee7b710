"""Which normalizer stands where in a pre-activation network: most stand everywhere, those of IBN-Net do not.

Pan et al. 2018 (arXiv:1807.09441) and their released ResNets. Both forms leave the last stages alone, whose channels
tell what is seen rather than how it looks.
"""

from __future__ import annotations

from sppkit.registry import normalizer_facts


def branch_norm(norm: str, stage: int, index: int) -> str:
    """Return the normalizer of one place of a branch.

    >>> [branch_norm("ibn-a", stage, 1) for stage in range(4)], branch_norm("ibn-a", 0, 0), branch_norm("gn", 3, 0)
    (['ibn-a', 'ibn-a', 'ibn-a', 'bn'], 'bn', 'gn')
    """
    placement = normalizer_facts(norm).placement
    if placement is None or (placement.place == "second" and index == 1 and stage < placement.stages):
        return norm
    return placement.elsewhere


def normalizes_output(norm: str, stage: int, *, closes_stage: bool) -> bool:
    """Return whether a normalizer follows a block's addition."""
    placement = normalizer_facts(norm).placement
    return placement is not None and placement.place == "addition" and closes_stage and stage < placement.stages
