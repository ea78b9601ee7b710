"""A configured run of shifts: one network per seed, its pictures as they are and shifted, and the record of it all."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from sppkit.config.shifts import parse_shift
from sppkit.errors import MeasurementError
from sppkit.inputs.shifted import beside
from sppkit.machine.allocator import only_new_garbage
from sppkit.measuring.choose_source import choose_source
from sppkit.measuring.forward.calibrate import batches_needed
from sppkit.measuring.other_way import OtherWayError
from sppkit.measuring.run import Run, cast_batch, choose_device, counter, describe_run, seeds_of, task_name
from sppkit.measuring.shifted.paired_probe import PairedProbe
from sppkit.measuring.shifted.run_paired import run_paired, twice_if_needed
from sppkit.measuring.shifted.tabulate import iter_shift_rows
from sppkit.models.addons.settings import positions
from sppkit.record.shift_table import build_shift_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

    from sppkit.config.options import RunConfig
    from sppkit.config.resolve import Resolved
    from sppkit.config.shifts import ChosenShift
    from sppkit.inputs.batches import Inputs
    from sppkit.measuring.run import Progress
    from sppkit.measuring.source import Source
    from sppkit.sites import Site


def run_shifts(resolved: Resolved, texts: Sequence[str], progress: Progress | None = None) -> Run:
    """Measure the network of a configuration under shifts of its pictures, once per seed."""
    started = time.perf_counter()
    shifts = [parse_shift(text) for text in texts]
    resolved = _with_calibration(resolved)
    config, device = resolved.config, choose_device(resolved.config.device)
    source = choose_source(resolved)
    rows: list[Mapping[str, Any]] = []
    found: list[str | None] = []
    with only_new_garbage():
        for seed in seeds_of(config):
            once = partial(_measure_once, source, config, shifts, seed, device, progress)
            more, inputs, summary, warmup = twice_if_needed(once)
            rows += more
            found.append(summary)
    record = describe_run(resolved, source, inputs, device) | {
        "found": found[-1],
        "warmup": warmup,
        "shifts": [chosen.text for chosen in shifts],
        "wall_time_seconds": round(time.perf_counter() - started, 3),
    }
    return Run(build_shift_table(rows), record, tuple(_iter_notes(source, config, inputs)))


def _measure_once(
    source: Source,
    config: RunConfig,
    shifts: Sequence[ChosenShift],
    seed: int,
    device: torch.device,
    progress: Progress | None,
    *,
    trusts: bool,
) -> tuple[list[Mapping[str, Any]], Inputs, str | None, int]:
    on_drawn = None if progress is None else partial(progress, task_name("drawing weights", config, seed))
    with source.prepared(seed, device, on_drawn) as (model, inputs):
        paired = beside(inputs, shifts, seed)
        batches = cast("int", inputs.description["batches"])
        count = counter(progress, task_name("measuring", config, seed), (source.blocks or 0) * batches)

        def on_site(site: Site) -> None:
            count(site.role == "block_output")

        probe = PairedProbe(model, 1 + len(shifts), on_site=on_site, sites=config.sites)
        if trusts:
            probe.trust()
        warmup = _warmup(model, config, batches)
        dtype = getattr(torch, config.dtype)
        try:
            run_paired(
                probe,
                model,
                (cast_batch(batch, dtype) for batch in paired.batches()),
                device=device,
                seed=seed,
                warmup=(cast_batch(batch, dtype) for batch in inputs.warmup(warmup)),
            )
        except OtherWayError:
            raise
        except MeasurementError as error:
            raise MeasurementError(f"{error}\n{source.explain('×'.join(map(str, inputs.shape)))}") from error
        summary = None if probe.findings is None else probe.findings.summary
        return list(iter_shift_rows(probe, shifts, seed)), paired, summary, warmup


def _with_calibration(resolved: Resolved) -> Resolved:
    # Said here, so that no source warns of running statistics that are calibrated below.
    if resolved.sources["warmup"] != "default" or resolved.config.checkpoint is not None:
        return resolved
    config = replace(resolved.config, warmup=max(1, resolved.config.batches))
    return replace(resolved, config=config, sources={**resolved.sources, "warmup": "shift"})


def _warmup(model: nn.Module, config: RunConfig, batches: int) -> int:
    if config.checkpoint is not None:
        return config.warmup
    return batches_needed(model, max(config.warmup, batches))


def _iter_notes(source: Source, config: RunConfig, inputs: Inputs) -> Iterator[str]:
    yield from source.iter_warnings()
    add_ons = positions(config.add_on)
    if "crossnorm" in add_ons:
        yield "CrossNorm does nothing in eval mode: what is measured here is the network without it."
    if "selfnorm" in add_ons and config.checkpoint is None:
        yield (
            "the gates of SelfNorm are untrained, and so its style shift says nothing of trained ones: untrained, they "
            "can make it larger."
        )
    used, asked = cast("int", inputs.description["samples_used"]), config.batch_size * config.batches
    if used < asked:
        yield f"{config.input} holds {used} samples; {asked} were asked for, and all of them are used."
