"""Measuring a model: its inputs, a probe around its forward passes, and the table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from sppkit.config.parsers import whole_number
from sppkit.errors import MeasurementError
from sppkit.measuring.backward.cotangent import differentiable
from sppkit.measuring.forward.device import check_values, find_target, move, wake
from sppkit.measuring.forward.feed import feed, warm_up
from sppkit.measuring.forward.full_precision import full_float32
from sppkit.measuring.forward.preserve import preserved
from sppkit.measuring.forward.random_state import seed_torch
from sppkit.measuring.forward.run_model import check_mode, iter_batches, set_mode
from sppkit.measuring.other_way import OtherWayError, WaysDifferError
from sppkit.measuring.output import Output
from sppkit.measuring.probe import Probe
from sppkit.measuring.remember import Once, recall, remember
from sppkit.record.table import OUTPUT, UNREGISTERED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from torch import nn

    from sppkit.joins.joins import Findings
    from sppkit.measuring.forward.run_model import Mode
    from sppkit.sites import Site


def measure(
    model: nn.Module,
    inputs: object,
    *,
    mode: Mode | None = None,
    batches: int | None = None,
    stats: Sequence[str] | str | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    warmup: object = (),
    on_site: Callable[[Site], None] | None = None,
    sites: str | Path | Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Push inputs through a model and return its signal propagation table.

    The model is left as it was, also when the forward pass raises: device, buffers (registered, replaced, resized or
    changed), attributes such as counters and caches, gradients, training flags, hooks and the random states of torch,
    NumPy and Python. Parameters are not copied: if the forward pass itself changes one in place, everything else is
    restored and a ``MeasurementError`` names it. ``sppkit.measuring.forward.preserve`` says precisely what is
    restored and what can't be seen.

    What ``inputs``, ``warmup`` and ``on_site`` raise comes through unchanged.

    Args:
        model: A network. Where it declares no sites, its residual joins are found in a forward pass on the first batch.
        inputs: One batch (a tensor, a mapping that is passed as keywords, a tuple whose first element is passed, or a
            ``Call``, which says how the model is called), or a list or other iterable of batches; statistics are those
            of their union.
        mode: ``"train"``, ``"eval"``, or None to keep the model's own flags.
        batches: Take at most this many batches; all of them where it is None.
        stats: Statistics to take, or the name of one or of a group (``spp``, ``gradient``, ``all``); the three of a
            Signal Propagation Plot where it is None. For those of the gradient, white noise is sent back from the last
            row's value, one backward pass per batch.
        seed: Seed of whatever is random inside the model, and the table's ``seed`` column.
        device: Where to run; where the model is, if None. The model is moved back afterwards.
        warmup: Batches that are run first, in train mode and unmeasured, so that running statistics mean something; in
            any form of ``inputs``, and the empty tuple for none.
        on_site: Called after each site, for instance to show progress.
        sites: As for ``Probe``.

    Returns:
        One row per block, columns as in ``sppkit.record.table.COLUMNS``, and one for each further statistic.

    Raises:
        UsageError: If the model, the inputs or an option can't be used.
        MeasurementError: If the model can't be moved, its forward pass fails (the text names the last site reached) or
            changes a parameter in place.
        WaysDifferError: If passes take different ways, and the batches are no list that can be gone through again.
    """
    make = partial(Probe, model, stats=stats, seed=seed, on_site=on_site, sites=sites)
    check_mode(mode)
    most = None if batches is None else whole_number(1)("batches", batches)
    warms = not (isinstance(warmup, tuple) and not warmup)

    output = Output()

    def run(probe: Probe, chosen: Iterable[object]) -> Probe:
        nonlocal output
        output = Output()  # of this try
        warm_up = iter_batches(warmup, "warmup") if warms else ()
        _measure_module(probe, model, chosen, device, mode, int(seed), warm_up, output.add)
        return probe

    try:
        probe = _run_cheaply(make, run, islice(iter_batches(inputs), most), recall(model), warms=warms)
    except WaysDifferError:
        if isinstance(inputs, Iterator) or isinstance(warmup, Iterator):  # they are gone
            raise
        ahead = make()
        ahead.look_ahead()
        run(ahead, islice(iter_batches(inputs), most))
        probe = make()
        probe.follow(ahead)
        run(probe, islice(iter_batches(inputs), most))
    remember(model, probe.found)
    probe.check_gradient()
    table = probe.table()
    table.attrs[OUTPUT] = output.described()  # what no row shows
    if probe.findings is not None and probe.findings.unregistered:
        table.attrs[UNREGISTERED] = [list(each) for each in probe.findings.unregistered]
    return table


def _run_cheaply(
    make: Callable[[], Probe],
    run: Callable[[Probe, Iterable[object]], Probe],
    batches: Iterable[object],
    known: Findings | None,
    *,
    warms: bool,
) -> Probe:
    """Take what is known of the model, or seen at a few samples, for granted; a full look where that is not so.

    Returns:
        The probe that has heard the batches.
    """
    probe, once = make(), Once(batches)
    if warms:  # what warms up is gone by the second try
        return run(probe, once)
    probe.trust(known)
    try:
        return run(probe, once)
    except OtherWayError:
        return run(make(), once.again())


def find_joins(
    model: nn.Module,
    inputs: object,
    *,
    mode: Mode | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    sites: str | Path | Mapping[str, Any] = "found",
) -> Findings:
    """Find a model's residual joins from a forward pass: what ``measure`` makes its rows of, and why.

    The model is left as ``measure`` leaves it. ``print`` shows the joins, one per line.

    Args:
        model: A network; whether it declares its sites makes no difference.
        inputs: One batch, or an iterable of batches, of which the first is taken.
        mode: As for ``measure``.
        seed: Seed of whatever is random inside the model.
        device: As for ``measure``.
        sites: Corrections of what is found, as for ``measure``.

    Returns:
        What was found, corrected.

    Raises:
        UsageError: If the model, the inputs or an option can't be used.
        MeasurementError: If the forward pass fails, or nothing in it could be measured.
    """
    # One statistic, the cheapest: the joins are what is asked for.
    probe = Probe(model, stats="channel_variance", seed=seed, single=True, sites=sites)
    check_mode(mode)
    _measure_module(probe, model, islice(iter_batches(inputs), 1), device, mode, int(seed), ())
    probe.table()
    if probe.findings is None:
        raise MeasurementError(f"no forward pass of {type(model).__name__} was seen.")
    return probe.findings


def _measure_module(
    probe: Probe,
    model: nn.Module,
    batches: Iterable[object],
    device: object,
    mode: Mode | None,
    seed: int,
    warmup: Iterable[object],
    on_output: Callable[[object], None] | None = None,
) -> None:
    check_values(model)
    target = find_target(model, device)
    wake(target)
    with preserved(model, attributes=True):
        if device is not None:  # else it stays where it is, be it on several
            move(model, target)
        _run(probe, model, batches, target, mode, seed, warmup, on_output)


def run_probe(
    probe: Probe,
    model: nn.Module,
    batches: Iterable[object],
    *,
    device: torch.device,
    mode: Mode | None,
    seed: int,
    warmup: Iterable[object] = (),
    on_output: Callable[[object], None] | None = None,
) -> pd.DataFrame:
    """Run a model on batches inside a probe and leave no trace: what ``measure`` does once all is in place.

    The model is not moved, and may be one that gets its values during the forward pass.

    Args:
        probe: A probe of the model.
        model: The model.
        batches: The batches.
        device: Where the model runs.
        mode: As for ``measure``.
        seed: Seed of whatever is random inside the model.
        warmup: Batches as for ``measure``.
        on_output: Called with what the model returns for each batch, but for those of the warm-up.

    Returns:
        The probe's table.
    """
    with preserved(model):
        _run(probe, model, batches, device, mode, seed, warmup, on_output)
    probe.check_gradient()
    return probe.table()


def look_ahead(
    probe: Probe,
    model: nn.Module,
    batches: Iterable[object],
    *,
    device: torch.device,
    mode: Mode | None,
    seed: int,
    warmup: Iterable[object] = (),
) -> None:
    """Run a model as ``run_probe`` does, so that the probe knows every pass of that; nothing is measured.

    Args:
        probe: A probe of the model.
        model: The model.
        batches: The batches.
        device: Where the model runs.
        mode: As for ``measure``.
        seed: Seed of whatever is random inside the model.
        warmup: Batches as for ``measure``.
    """
    probe.look_ahead()
    with preserved(model, attributes=True):
        _run(probe, model, batches, device, mode, seed, warmup)


def _run(
    probe: Probe,
    model: nn.Module,
    batches: Iterable[object],
    device: torch.device,
    mode: Mode | None,
    seed: int,
    warmup: Iterable[object],
    on_output: Callable[[object], None] | None = None,
) -> None:
    with ExitStack() as stack:
        stack.enter_context(full_float32())
        stack.enter_context(differentiable(model) if probe.sends_back(model) else torch.no_grad())
        seed_torch(seed)
        warm_up(model, warmup, device)
        set_mode(model, mode)
        stack.enter_context(probe)
        feed(model, batches, device, probe, on_output)
