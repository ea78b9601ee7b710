"""Positions of a sample that have become one: the tokens of a sequence, the patches of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis

_SHARE = "instance_style_share"
# Shares of the variance that lie within samples. Attention without skip connections makes tokens alike at a doubly
# exponential rate (Dong, Cordonnier & Loukas 2021, arXiv:2103.03404). Of small networks that were trained
# (benchmarks/trainability, the kinds for fitting) none with less than the first learnt; from 0.3 on they did well.
_ALIKE, _NEARLY = 0.05, 0.2
# Where positions differed so little from the start, it is the input.
_DIFFERED = 0.3


def find_alike_positions(curves: Curves) -> Diagnosis | None:
    """Find where positions of a sample differ by less than a twentieth of the variance, to the last row that has some.

    A global pooling leaves a single position, of which nothing is said.
    """
    if curves.network.known or not curves.network.initial or _SHARE not in curves.table:
        return None
    within = 1 - curves.seed_mean(_SHARE)[curves.judged]
    several = np.flatnonzero(curves.map_sizes.prod(axis=0) > 1)
    if not len(several) or not within[several[0]] > _DIFFERED or not within[several[-1]] < _NEARLY:
        return None
    worst = int(several[-1])
    differs = [place for place in several if not within[place] < _NEARLY]
    begins = int(several[several > differs[-1]][0])
    return diagnosed(
        curves,
        "alike-positions",
        "error" if within[worst] < _ALIKE else "warning",
        begins=begins,
        worst=worst,
        statistic=_SHARE,
        limit=1 - _NEARLY,
        fact=f"The positions of a sample become alike from {curves.at(begins)} on: {max(within[worst], 0):.2g} of the "
        f"variance at {curves.at(worst)} lies between them, {within[several[0]]:.2g} at {curves.at(int(several[0]))}",
        cause="each step averages over positions, as attention does, and too little passes by it",
        remedy="add skip connections, or lessen the averaging's weight against them",
    )
