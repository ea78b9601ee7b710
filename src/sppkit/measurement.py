"""Measuring a model: its inputs, a probe around its forward passes, and the table."""

from __future__ import annotations

import functools
import math
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import torch

from sppkit import registry
from sppkit.errors import MeasurementError, UsageError
from sppkit.parsers import names_of, parse_seed, whole_number
from sppkit.probe.check import as_network, declared_sites
from sppkit.probe.corrections import correct, load_corrections
from sppkit.probe.finder import Finder
from sppkit.probe.forward import call_model, check_mode, explain_failure, iter_batches, reached, set_mode
from sppkit.probe.listener import Listener
from sppkit.probe.numerics import full_float32
from sppkit.probe.place import check_values, find_target, move, wake
from sppkit.probe.preserve import attributes_preserved, preserved
from sppkit.probe.randomness import seed_torch
from sppkit.sites import DeclaresSites
from sppkit.stats.moments import ChannelMoments, channel_moments, merge_moments
from sppkit.table import build_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import pandas as pd
    from torch import Tensor, nn

    from sppkit.probe.collector import Collector
    from sppkit.probe.forward import Mode
    from sppkit.probe.found import Findings
    from sppkit.sites import Role, Site

    # Statistics of one site by name, and its number of non-finite values; each of shape ().
    _Summary = Mapping[str, Tensor | float]
    _Kept = ChannelMoments | _Summary

# The role of the site that each statistic is measured at.
_ROLES: dict[str, Role] = {
    "channel_squared_mean": "block_output",
    "channel_variance": "block_output",
    "residual_variance": "residual_branch",
}


class Probe:
    """Measure the forward passes that the user runs inside a context; several are merged into one table.

    A context that was left can be entered again: what comes then is merged with what came before. A probe only
    listens: what the user's own forward passes change in the model stays changed.

    >>> import torch, sppkit
    >>> model = sppkit.build_model("nf-resnet", stages=(1, 1), width=0.125)
    >>> with sppkit.Probe(model) as probe:
    ...     output = model(torch.ones(2, 3, 32, 32))
    >>> list(probe.table()["name"])
    ['stem', 'blocks.0', 'blocks.1']
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        stats: Sequence[str] | str | None = None,
        seed: int = 0,
        on_site: Callable[[Site], None] | None = None,
        single: bool = False,
        sites: str | Path | Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare to listen; nothing is hooked before the context is entered.

        Args:
            model: A network. Where it declares no sites, its residual joins are found in the first forward pass.
            stats: Statistics to take, or the name of one; all of them where it is None.
            seed: What the table's ``seed`` column says.
            on_site: Called after each site, for instance to show progress.
            single: Promise that there is one forward pass: the statistics of a site are then kept instead of the
                moments of its channels, which only merging needs.
            sites: Corrections of what is found: the path of a TOML file, or what it holds (``docs/any-model.md``).
                ``"found"`` corrects nothing. Either finds the joins of a model that declares its sites as well.

        Raises:
            UsageError: If the model says wrongly where its residual blocks are, or an argument can't be used.
        """
        corrections = None if sites is None else load_corrections(sites)
        declares = isinstance(as_network(model), DeclaresSites)
        finds = corrections is not None or not declares
        self._stats = _check_stats(stats)
        self._seed = parse_seed("seed", seed)
        reduce = self._summarize if single else _moments_at
        callback = _check_callback(on_site)
        self._listener: Listener[_Kept] | Finder[_Kept] = (
            Finder(model, [], reduce, _merge, callback, correct=partial(correct, corrections=corrections or ()))
            if finds
            else Listener(model, declared_sites(model), reduce, _merge, callback)
        )

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.__exit__(kind, error, trace)

    @property
    def last(self) -> Site | None:
        """The last site that a forward pass has reached."""
        return self._listener.last

    @property
    def findings(self) -> Findings | None:
        """What was found in the first forward pass; None before it, and for a model that declares its sites."""
        return self._listener.findings if isinstance(self._listener, Finder) else None

    @property
    def raised(self) -> Exception | None:
        """What ``on_site`` raised, if it did."""
        return self._listener.raised

    def table(self) -> pd.DataFrame:
        """Return the statistics of everything seen so far.

        Returns:
            One row per block, columns as in ``sppkit.table.COLUMNS``.

        Raises:
            MeasurementError: If a site was never reached.
        """
        self._listener.check_complete()
        return build_table(_iter_rows(self._listener, self._stats, self._seed))

    def _summarize(self, site: Site, signal: Tensor) -> _Summary:
        summary = _summarize(site, channel_moments(signal), self._stats)
        # There is no device to wait for on the CPU, and small tensors that outlive large ones leave holes in the heap.
        return {name: value.item() if value.device.type == "cpu" else value for name, value in summary.items()}


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
    restored and a ``MeasurementError`` names it. ``sppkit.probe.preserve`` says precisely what is restored and what
    can't be seen.

    What ``inputs``, ``warmup`` and ``on_site`` raise comes through unchanged.

    Args:
        model: A network. Where it declares no sites, its residual joins are found in a forward pass on the first batch.
        inputs: One batch (a tensor, a mapping that is passed as keywords, or a tuple whose first element is passed),
            or a list or other iterable of batches; statistics are those of their union.
        mode: ``"train"``, ``"eval"``, or None to keep the model's own flags.
        batches: Take at most this many batches; all of them where it is None.
        stats: Statistics to take, or the name of one; all of them where it is None.
        seed: Seed of whatever is random inside the model, and the table's ``seed`` column.
        device: Where to run; where the model is, if None. The model is moved back afterwards.
        warmup: Batches that are run first, in train mode and unmeasured, so that running statistics mean something; in
            any form of ``inputs``, and the empty tuple for none.
        on_site: Called after each site, for instance to show progress.
        sites: As for ``Probe``.

    Returns:
        One row per block, columns as in ``sppkit.table.COLUMNS``.

    Raises:
        UsageError: If the model, the inputs or an option can't be used.
        MeasurementError: If the model can't be moved, its forward pass fails (the text names the last site reached) or
            changes a parameter in place.
    """
    probe = Probe(model, stats=stats, seed=seed, on_site=on_site, sites=sites)
    check_mode(mode)
    chosen = islice(iter_batches(inputs), None if batches is None else whole_number(1)("batches", batches))
    warm_up = iter(()) if isinstance(warmup, tuple) and not warmup else iter_batches(warmup, "warmup")
    _measure(probe, model, chosen, device, mode, int(seed), warm_up)
    return probe.table()


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
    _measure(probe, model, islice(iter_batches(inputs), 1), device, mode, int(seed), ())
    probe.table()
    if probe.findings is None:
        raise MeasurementError(f"no forward pass of {type(model).__name__} was seen.")
    return probe.findings


def _measure(
    probe: Probe,
    model: nn.Module,
    batches: Iterable[object],
    device: object,
    mode: Mode | None,
    seed: int,
    warmup: Iterable[object],
) -> None:
    check_values(model)
    target = find_target(model, device)
    wake(target)
    with preserved(model), attributes_preserved(model):
        move(model, target)
        _run(probe, model, batches, target, mode, seed, warmup)


def run_probe(
    probe: Probe,
    model: nn.Module,
    batches: Iterable[object],
    *,
    device: torch.device,
    mode: Mode | None,
    seed: int,
    warmup: Iterable[object] = (),
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

    Returns:
        The probe's table.
    """
    with preserved(model):
        _run(probe, model, batches, device, mode, seed, warmup)
    return probe.table()


def _run(
    probe: Probe,
    model: nn.Module,
    batches: Iterable[object],
    device: torch.device,
    mode: Mode | None,
    seed: int,
    warmup: Iterable[object],
) -> None:
    with ExitStack() as stack:
        stack.enter_context(full_float32())
        stack.enter_context(torch.no_grad())
        seed_torch(seed)
        _warm_up(model, warmup, device)
        set_mode(model, mode)
        stack.enter_context(probe)
        _feed(model, batches, device, probe)


def _warm_up(model: nn.Module, batches: Iterable[object], device: torch.device) -> None:
    flags = [(module, module.training) for module in model.modules()]
    for batch in batches:
        model.train()
        try:
            call_model(model, batch, device)
        except Exception as error:  # whatever a model raises
            raise explain_failure(error, "during warm-up") from error
    for module, training in flags:
        module.training = training


def _feed(model: nn.Module, batches: Iterable[object], device: torch.device, probe: Probe) -> None:
    fed = 0
    for batch in batches:
        try:
            call_model(model, batch, device)
        except Exception as error:  # whatever a model raises
            if error is probe.raised:  # by the user's own callback
                raise
            raise explain_failure(error, reached(probe.last)) from error
        fed += 1
    if fed == 0:
        raise UsageError("there is no batch to measure: the inputs are empty.")


def _check_callback(on_site: object) -> Callable[[Site], None] | None:
    if on_site is not None and not callable(on_site):
        raise UsageError(f"on_site must be a function of a site, not {on_site!r}.")
    return on_site


def _check_stats(stats: object) -> tuple[str, ...]:
    return names_of("statistic", registry.STATISTICS)("stats", tuple(registry.STATISTICS) if stats is None else stats)


def _moments_at(_site: Site, signal: Tensor) -> ChannelMoments:
    return channel_moments(signal)


def _merge(a: _Kept, b: _Kept) -> ChannelMoments:
    if isinstance(a, ChannelMoments) and isinstance(b, ChannelMoments):
        return merge_moments(a, b)
    raise UsageError("a probe for a single forward pass saw a second one; make it without single=True.")


def _summarize(site: Site, moments: ChannelMoments, stats: Sequence[str]) -> dict[str, Tensor]:
    names = [name for name in stats if _ROLES[name] == site.role]
    return {name: _load_statistic(name)(moments) for name in names} | {"nonfinite": moments.nonfinite.double()}


@functools.cache
def _load_statistic(name: str) -> Callable[[ChannelMoments], Tensor]:
    statistic: Callable[[ChannelMoments], Tensor] = registry.resolve("statistic", name)
    return statistic


def _iter_rows(listener: Collector[_Kept], stats: Sequence[str], seed: int) -> Iterator[Mapping[str, Any]]:
    numbers = _collect(listener.values, stats)
    blocks: dict[int, dict[Role, Site]] = {}
    for site in listener.sites:
        blocks.setdefault(site.block, {})[site.role] = site
    for sites in blocks.values():
        output = sites["block_output"]
        _samples, channels, *space = listener.shapes[output]
        found = {name: numbers.get((sites[role], name)) for name, role in _ROLES.items() if role in sites}
        yield {
            "seed": seed,
            "block": output.block,
            "stage": output.stage,
            "name": output.name,
            "channels": channels,
            # (N, C, T) has a height only; of (N, C, D, H, W) the last two are H and W.
            "height": space[-2] if len(space) > 1 else next(iter(space), None),
            "width": space[-1] if len(space) > 1 else None,
            **found,
            "nonfinite": _count_nonfinite([numbers[site, "nonfinite"] for site in sites.values()], found.values()),
        }


def _collect(values: Mapping[Site, _Kept], stats: Sequence[str]) -> dict[tuple[Site, str], float]:
    # All at once: the only time that the host waits for the device.
    scalars: dict[tuple[Site, str], Tensor] = {}
    for site, kept in values.items():
        summary = _summarize(site, kept, stats) if isinstance(kept, ChannelMoments) else kept
        scalars |= {(site, name): _as_tensor(value) for name, value in summary.items()}
    return dict(zip(scalars, torch.stack(list(scalars.values())).cpu().tolist(), strict=True))


def _as_tensor(value: Tensor | float) -> Tensor:
    # On the CPU whatever the user's default device.
    return torch.tensor(value, dtype=torch.float64, device="cpu") if isinstance(value, float) else value


def _count_nonfinite(counts: Iterable[float], statistics: Iterable[float | None]) -> int:
    # A statistic of finite values may itself overflow: that counts as well, so that its nan is not taken for absent.
    overflowed = sum(value is not None and not math.isfinite(value) for value in statistics)
    return max(int(sum(counts)), overflowed)
