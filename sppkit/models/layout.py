"""How a depth becomes blocks per stage."""

from __future__ import annotations

from sppkit.errors import UsageError

# Convolutions in a block: a depth counts layers, and three (or two) of them make one block.
CONVOLUTIONS = {"bottleneck": 3, "basic": 2}

# He et al. 2016 (50 to 152), and nfnets' resnet.py (200, 288, 600); ResNet-18 and 34 for the basic block.
PUBLISHED: dict[tuple[str, int], tuple[int, ...]] = {
    ("basic", 18): (2, 2, 2, 2),
    ("basic", 34): (3, 4, 6, 3),
    ("bottleneck", 50): (3, 4, 6, 3),
    ("bottleneck", 101): (3, 4, 23, 3),
    ("bottleneck", 152): (3, 8, 36, 3),
    ("bottleneck", 200): (3, 24, 36, 3),
    ("bottleneck", 288): (24, 24, 24, 24),
    ("bottleneck", 600): (50, 50, 50, 50),
}

# The order in which blocks left over by an even spread are given to stages 3, 2 and 4.
_REMAINDER_ORDER = (2, 1, 3)


def stage_layout(depth: int, block: str = "bottleneck") -> tuple[int, ...]:
    """Return the number of blocks of each of four stages.

    >>> stage_layout(600), stage_layout(24), stage_layout(40), stage_layout(18, "basic")
    ((50, 50, 50, 50), (2, 2, 2, 2), (3, 3, 4, 3), (2, 2, 2, 2))
    """
    if (block, depth) in PUBLISHED:
        return PUBLISHED[block, depth]
    minimum = 4 * CONVOLUTIONS[block]
    if depth < minimum:
        raise UsageError(
            f"--depth must be at least {minimum} for the {block} block (one block in each of 4 stages), not {depth}.\n"
            "For a smaller network say the stages: --stages 1,1"
        )
    blocks = depth // CONVOLUTIONS[block]
    stages = [blocks // 4] * 4
    for stage in _REMAINDER_ORDER[: blocks % 4]:
        stages[stage] += 1
    return tuple(stages)
