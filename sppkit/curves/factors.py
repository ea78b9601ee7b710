"""What one block does to the variance, freed of everything before it: how faults of a scaled network are told apart.

With v the variance at a block's input, beta² the variance that the block divides by, r its residual variance, and
v' = s + (alpha skip_gain)² r its output's variance, where s is the shortcut's,

    branch factor    b = r beta² / v
    shortcut factor  f = s beta² / v      where the shortcut is projected

In a healthy NF-ResNet both are 1, whatever happened upstream (Brock et al. 2021, section 4: every activation and
convolution keeps the variance of its input). One pair of activation and convolution that multiplies the variance by q
instead gives f = q and b = q^n after n convolutions; a gate of g² gives f = 1 and b = g²; a shortcut that was not
divided by beta gives f = beta² and b = 1; zero padding leaves f = 1 and b = the share of taps that it keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.network import stage_positions

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves

# The shortcut's variance is what is left of the output's without the branch's. Where the branch is more than nine
# tenths of it, the 4 % by which either scatters on narrow networks would be half of the rest.
_LEAST_SHORTCUT = 0.1
# Convolutions of a basic block's branch, both of them 3x3; of a bottleneck's three one is.
_BASIC = 2


@dataclass(frozen=True)
class Factors:
    """One value per residual block, nan where the factor can't be told.

    Attributes:
        branch: b, divided by the share of taps that zero padding keeps.
        shortcut: f, times the number of positions that the shortcut averages; nan where it is not projected.
        beta_squared: beta².
    """

    branch: Array
    shortcut: Array
    beta_squared: Array


def block_factors(curves: Curves) -> Factors | None:
    """Return what each block of a scaled network does to the variance."""
    network, count = curves.network, len(curves.variance)
    scale = network.branch_scale
    if not (network.scaled and network.stages and network.centred and scale is not None):
        return None
    beta_squared = np.array(network.expected_input_variance()[:count])
    positions = np.array(stage_positions(network.stages)[:count])
    kept_samples = np.array(network.kept_samples()[:count])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = np.where(curves.before > 0, beta_squared / curves.before, np.nan)
        branch = curves.branch * relative / kept_taps(curves)
        left = curves.variance - scale * kept_samples * curves.branch
        shortcut = np.where((positions == 0) & (left > _LEAST_SHORTCUT * curves.variance), left * relative, np.nan)
        shortcut *= _averaged(curves)
    if network.pooled and count:
        # What the first block sees is the largest of nine, neither Gaussian nor centred.
        branch[0] = shortcut[0] = np.nan
    return Factors(branch, shortcut, beta_squared)


def _averaged(curves: Curves) -> Array:
    """Return of how many independent positions each shortcut takes the mean, which divides the variance by as much."""
    sizes = curves.map_sizes.prod(axis=0)
    if not (curves.network.averaging and curves.network.white_input):
        return np.ones_like(sizes)
    stem = curves.positions[curves.blocks == 0]
    before = np.concatenate((stem[:1] if len(stem) else sizes[:1], sizes[:-1]))
    averaged: Array = np.maximum(before / sizes, 1.0)
    return averaged


def kept_taps(curves: Curves) -> Array:
    """Return the share of a branch's variance that zero padding leaves: (1 - 2/(3n))² per 3x3 convolution on n x n.

    Of a row of n positions each outer one lacks one of three taps. Where the stride is 2, only the first one does.
    A normalizer makes up for all but what the last convolution loses.
    """
    network, basic = curves.network, curves.network.convolutions == _BASIC
    full = kept_by_filter(curves.map_sizes)
    if not network.zero_padding or (network.normalized and not basic):
        return np.ones_like(full)
    if network.normalized:
        return full
    strided = curves.starts & (np.arange(len(full)) > 0)
    first = np.where(strided, kept_by_filter(2 * curves.map_sizes), full)
    kept: Array = first * full if basic else first
    return kept


def kept_by_filter(sizes: Array) -> Array:
    """Return the share of a 3x3 filter's taps that lie inside of a map, on average over its positions."""
    kept: Array = np.prod(1 - 2 / (3 * sizes), axis=0)
    return kept
