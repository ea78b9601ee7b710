"""Measuring a model: its inputs, a probe around its forward passes, and the table."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import torch

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.probe.forward import call_model, explain_failure, full_float32, iter_batches, set_mode
from sppkit.probe.listener import Listener
from sppkit.probe.preserve import preserved
from sppkit.sites import DeclaresSites
from sppkit.stats.moments import ChannelMoments, channel_moments, merge_moments
from sppkit.table import build_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    import pandas as pd
    from torch import Tensor, nn

    from sppkit.probe.forward import Mode
    from sppkit.sites import Role, Site

    # Statistics of one site by name, and its number of non-finite values; each of shape ().
    _Summary = dict[str, Tensor]
    _Kept = ChannelMoments | _Summary

# The role of the site that each statistic is measured at.
_ROLES: dict[str, Role] = {
    "channel_squared_mean": "block_output",
    "channel_variance": "block_output",
    "residual_variance": "residual_branch",
}


class Probe:
    """Measure the forward passes that the user runs inside a context; several are merged into one table.

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
        stats: Sequence[str] | None = None,
        seed: int = 0,
        on_site: Callable[[Site], None] | None = None,
        single: bool = False,
    ) -> None:
        """Prepare to listen; nothing is hooked before the context is entered.

        Args:
            model: A network that declares its sites, as every named architecture does.
            stats: Statistics to take; all of them where it is None.
            seed: What the table's ``seed`` column says.
            on_site: Called after each site, for instance to show progress.
            single: Promise that there is one forward pass: the statistics of a site are then kept instead of the
                moments of its channels, which only merging needs.

        Raises:
            UsageError: If the model does not say where its residual blocks are, or for an unknown statistic.
        """
        if not isinstance(model, DeclaresSites):
            raise UsageError(
                f"{type(model).__name__} does not say where its residual blocks are.\n"
                "Give it a method signal_sites() that returns sppkit.Site objects, or use sppkit.build_model."
            )
        self._stats = _check_stats(stats)
        self._seed = seed
        self._listener: Listener[_Kept] = Listener(
            model, list(model.signal_sites()), self._summarize if single else _moments_at, _merge, on_site
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
        return _summarize(site, channel_moments(signal), self._stats)


def measure(
    model: nn.Module,
    inputs: object,
    *,
    mode: Mode | None = None,
    batches: int | None = None,
    stats: Sequence[str] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    warmup: Iterable[object] = (),
    on_site: Callable[[Site], None] | None = None,
) -> pd.DataFrame:
    """Push inputs through a model and return its signal propagation table.

    The model is left as it was: parameters, buffers, gradients, training flags, hooks and random states are restored,
    also when the forward pass raises.

    Args:
        model: A network that declares its sites, as every named architecture does.
        inputs: One batch (a tensor, a mapping that is passed as keywords, or a tuple whose first element is passed),
            or a list or other iterable of batches; statistics are those of their union.
        mode: ``"train"``, ``"eval"``, or None to keep the model's own flags.
        batches: Take at most this many batches; all of them where it is None.
        stats: Statistics to take; all of them where it is None.
        seed: Seed of whatever is random inside the model, and the table's ``seed`` column.
        device: Where to run; where the model is, if None. The model is moved back afterwards.
        warmup: Batches that are run first, in train mode and unmeasured, so that running statistics mean something.
        on_site: Called after each site, for instance to show progress.

    Returns:
        One row per block, columns as in ``sppkit.table.COLUMNS``.

    Raises:
        UsageError: If the model, the inputs or an option can't be used.
        MeasurementError: If the forward pass fails; the text names the last site reached.
    """
    if batches is not None and batches < 1:
        raise UsageError(f"batches must be at least 1, not {batches}.")
    probe = Probe(model, stats=stats, seed=seed, on_site=on_site)
    chosen = islice(iter_batches(inputs), batches)
    with _placed(model, device) as target:
        return run_probe(probe, model, chosen, device=target, mode=mode, seed=seed, warmup=warmup)


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

    Args:
        probe: A probe of the model.
        model: The model.
        batches: The batches.
        device: Where the model runs.
        mode: As for ``measure``.
        seed: Seed of whatever is random inside the model.
        warmup: As for ``measure``.

    Returns:
        The probe's table.
    """
    with ExitStack() as stack:
        stack.enter_context(preserved(model))
        stack.enter_context(full_float32())
        stack.enter_context(torch.no_grad())
        torch.manual_seed(seed)
        _warm_up(model, warmup, device)
        set_mode(model, mode)
        stack.enter_context(probe)
        _feed(model, batches, device, probe)
    return probe.table()


def _warm_up(model: nn.Module, batches: Iterable[object], device: torch.device) -> None:
    flags = [(module, module.training) for module in model.modules()]
    try:
        for batch in batches:
            model.train()
            call_model(model, batch, device)
    except Exception as error:  # whatever a model raises
        raise explain_failure(error, None) from error
    for module, training in flags:
        module.training = training


def _feed(model: nn.Module, batches: Iterable[object], device: torch.device, probe: Probe) -> None:
    fed = 0
    try:
        for batch in batches:
            call_model(model, batch, device)
            fed += 1
    except Exception as error:  # whatever a model raises
        raise explain_failure(error, probe.last) from error
    if fed == 0:
        raise UsageError("there is no batch to measure: the inputs are empty.")


@contextmanager
def _placed(model: nn.Module, device: str | torch.device | None) -> Iterator[torch.device]:
    first = next(model.parameters(), None)
    home = torch.device("cpu") if first is None else first.device
    target = home if device is None else torch.device(device)
    if target == home:
        yield home
        return
    model.to(target)
    try:
        yield target
    finally:
        model.to(home)


def _check_stats(stats: Sequence[str] | None) -> tuple[str, ...]:
    names = registry.STATISTICS if stats is None else stats
    return tuple(registry.check_name("statistic", name, registry.STATISTICS) for name in names)


def _moments_at(_site: Site, signal: Tensor) -> ChannelMoments:
    return channel_moments(signal)


def _merge(a: _Kept, b: _Kept) -> ChannelMoments:
    if isinstance(a, ChannelMoments) and isinstance(b, ChannelMoments):
        return merge_moments(a, b)
    raise UsageError("a probe for a single forward pass saw a second one; make it without single=True.")


def _summarize(site: Site, moments: ChannelMoments, stats: Sequence[str]) -> _Summary:
    names = [name for name in stats if _ROLES[name] == site.role]
    return {name: registry.resolve("statistic", name)(moments) for name in names} | {
        "nonfinite": moments.nonfinite.double()
    }


def _iter_rows(listener: Listener[_Kept], stats: Sequence[str], seed: int) -> Iterator[Mapping[str, Any]]:
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
            "height": space[0] if space else None,
            "width": space[1] if len(space) > 1 else None,
            **found,
            "nonfinite": _count_nonfinite([numbers[site, "nonfinite"] for site in sites.values()], found.values()),
        }


def _collect(values: Mapping[Site, _Kept], stats: Sequence[str]) -> dict[tuple[Site, str], float]:
    # All at once: the only time that the host waits for the device.
    scalars: dict[tuple[Site, str], Tensor] = {}
    for site, kept in values.items():
        summary = _summarize(site, kept, stats) if isinstance(kept, ChannelMoments) else kept
        scalars |= {(site, name): value for name, value in summary.items()}
    return dict(zip(scalars, torch.stack(list(scalars.values())).cpu().tolist(), strict=True))


def _count_nonfinite(counts: Iterable[float], statistics: Iterable[float | None]) -> int:
    # A statistic of finite values may itself overflow: that counts as well, so that its nan is not taken for absent.
    overflowed = sum(value is not None and not math.isfinite(value) for value in statistics)
    return max(int(sum(counts)), overflowed)
