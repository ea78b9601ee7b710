"""From what was kept of paired signals to the rows of their table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sppkit.machine.printable import printable
from sppkit.record.shift_table import INPUT
from sppkit.stats.instance_style_share import instance_style_share
from sppkit.stats.paired import correlation, deviation_shift, has_style, signal_kept, style_shift

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sppkit.config.shifts import ChosenShift
    from sppkit.measuring.shifted.paired_probe import KeptForms, PairedProbe
    from sppkit.sites import Role, Site
    from sppkit.stats.channel_moments import ChannelMoments
    from sppkit.stats.instance_style_share import InstanceMoments
    from sppkit.stats.paired import PairMoments


def iter_shift_rows(probe: PairedProbe, shifts: Sequence[ChosenShift], seed: int) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of every shift: the input, and then one per block."""
    pairs, shape = probe.input
    heard = probe.heard
    blocks: dict[int, dict[Role, Site]] = {}
    for site in heard:
        blocks.setdefault(site.block, {})[site.role] = site
    for index, chosen in enumerate(shifts):
        yield {"seed": seed, "shift": chosen.text, "block": INPUT, "name": "input", **_size(shape)} | _figures(
            pairs[index], moves=chosen.entry.moves
        )
        for block in sorted(blocks):
            output = blocks[block]["block_output"]
            branch = blocks[block].get("residual_branch")
            yield {
                "seed": seed,
                "shift": chosen.text,
                "block": block,
                "stage": output.stage,
                "name": printable(output.name),  # a module may be called anything
                **_size(heard[output].shape),
                **_figures(heard[output].value.pairs[index], moves=chosen.entry.moves),
                **({} if branch is None else _branch_figures(heard[branch].value, index)),
            }


def _size(shape: Sequence[int]) -> dict[str, int | None]:
    _samples, channels, *space = shape
    height = space[-2] if len(space) > 1 else next(iter(space), None)
    return {"channels": channels, "height": height, "width": space[-1] if len(space) > 1 else None}


def _figures(pair: PairMoments, *, moves: bool) -> dict[str, Any]:
    styled = has_style(pair)
    spread = pair.pooled if moves else pair.maps
    compared = not moves or styled  # means that are alike in all samples but for rounding have no correlation
    squared_mean, variance = _squared_mean(pair.clean), _variance(pair.clean)
    shifted_squared_mean, shifted_variance = _squared_mean(pair.shifted), _variance(pair.shifted)
    return {
        "channel_squared_mean": squared_mean,
        "channel_variance": variance,
        "shifted_channel_squared_mean": shifted_squared_mean,
        "shifted_channel_variance": shifted_variance,
        "log2_variance_ratio": _log2_ratio(shifted_variance, variance),
        "squared_mean_change": (shifted_squared_mean - squared_mean) / variance if variance else None,
        "style_share": float(instance_style_share(pair.clean)),
        "style_shift": float(style_shift(pair)) if styled else None,
        "deviation_shift": _number(deviation_shift(pair)) if styled else None,
        "correlation": float(correlation(spread)) if compared else None,
        "signal_kept": float(signal_kept(spread)) if compared else None,
        "nonfinite": pair.nonfinite,
    }


def _branch_figures(kept: KeptForms, index: int) -> dict[str, float | None]:
    clean, shifted = (_moments_variance(kept.branch[at]) for at in (0, index + 1))
    return {
        "residual_variance": clean,
        "shifted_residual_variance": shifted,
        "log2_residual_variance_ratio": _log2_ratio(shifted, clean),
    }


def _log2_ratio(new: float, old: float) -> float | None:
    return math.log2(new / old) if new > 0 and old > 0 and math.isfinite(new) and math.isfinite(old) else None


def _squared_mean(moments: InstanceMoments) -> float:
    return float(moments.mean.square().mean())


def _variance(moments: InstanceMoments) -> float:
    return float((moments.between + moments.within).mean() / moments.count)


def _moments_variance(moments: ChannelMoments) -> float:
    return float(moments.variance.mean())


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
