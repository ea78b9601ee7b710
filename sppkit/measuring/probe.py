"""The probe: listening to the user's forward passes, and the table of what was heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from sppkit.config.parsers import parse_seed, statistics
from sppkit.errors import UsageError
from sppkit.measuring.backward.cotangent import why_undifferentiable
from sppkit.measuring.backward.gradients import Gradients
from sppkit.measuring.backward.scale import read_scale
from sppkit.measuring.choose_listener import choose_listener
from sppkit.measuring.find import Finder
from sppkit.measuring.layers import LayerListener
from sppkit.measuring.nonfinite import find_nonfinite
from sppkit.measuring.reduce import Reducer, merge_kept
from sppkit.measuring.survey import Survey
from sppkit.measuring.tabulate import iter_rows
from sppkit.models.junctions import find_junction_paths
from sppkit.record.table import build_table
from sppkit.registry import DEFAULT_STATISTICS, GRADIENT_STATISTICS, STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import pandas as pd
    from torch import nn

    from sppkit.joins.joins import Findings
    from sppkit.measuring.reduce import Kept
    from sppkit.models.junctions import JunctionPaths
    from sppkit.sites import Site


class Probe:
    """Measure the forward passes that the user runs inside a context; several are merged into one table.

    A context that was left can be entered again: what comes then is merged with what came before. A probe only
    listens: what the user's own forward passes change in the model stays changed.

    With ``stats="spp,gradient"`` it hears the user's own backward passes, too, those that run inside the context: every
    one of them counts, and a forward pass without one leaves the columns empty.

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
        loss_scale: object = None,
    ) -> None:
        """Prepare to listen; nothing is hooked before the context is entered.

        Args:
            model: A network. Where it declares no sites, its residual joins are found in the first forward pass.
            stats: Statistics to take, or the name of one or of a group (``spp``, ``gradient``, ``all``); the three of a
                Signal Propagation Plot where it is None.
            seed: What the table's ``seed`` column says.
            on_site: Called after each site, for instance to show progress.
            single: Promise that there is one forward pass: the statistics of a site are then kept instead of the
                moments of its channels, which only merging needs.
            sites: Corrections of what is found: the path of a TOML file, or what it holds (``docs/any-model.md``).
                ``"found"`` corrects nothing. Either finds the joins of a model that declares its sites as well.
            loss_scale: What the loss is multiplied by before its backward pass, a number or the ``GradScaler`` that
                does it; gradients are divided by it.

        Raises:
            UsageError: If the model says wrongly where its residual blocks are, or an argument can't be used.
        """
        self._stats = _check_stats(stats)
        self._seed = parse_seed("seed", seed)
        self._reducer = Reducer(self._stats)
        callback = _check_callback(on_site)
        reduce = self._summarize_site if single else self._reduce_site
        self._listener, self._corrected = choose_listener(model, reduce, merge_kept, callback, sites)
        if set(self._stats) & set(GRADIENT_STATISTICS):
            self._listener.gradients = Gradients(self._reducer, merge_kept, self._seed, scale=read_scale(loss_scale))
        self._layers, self._junctions = self._build_layers(model)

    def sends_back(self, model: nn.Module) -> bool:
        """Take gradients by sending noise back after each pass, instead of listening to the user's backward passes.

        Returns:
            Whether there is anything to do so for: a statistic of the gradient, and a model that has one.
        """
        gradients = self.gradients
        if gradients is None:  # what only looks ahead takes the same way
            asked = bool(set(self._stats) & set(GRADIENT_STATISTICS))
            return asked and why_undifferentiable(model) is None
        gradients.own_backward, gradients.reason = False, why_undifferentiable(model)
        # Weights that are nowhere come block by block, and so do gradients.
        gradients.one_at_a_time = any(parameter.is_meta for parameter in model.parameters())
        return gradients.reason is None

    def check_gradient(self) -> None:
        """Check that there is a gradient where one was asked for by name.

        Raises:
            UsageError: If there is none at all.
        """
        gradients = self.gradients
        everything = set(self._stats) == set(STATISTICS)  # then what applies is enough
        if gradients is not None and not gradients.kept and gradients.reason is not None and not everything:
            raise UsageError(
                f"there is no gradient to measure: {gradients.reason}\nLeave the gradient out of the statistics."
            )

    def follow_training(self) -> None:
        """Count no passes of an evaluation, and allow layers that are skipped, as a monitor does."""
        self._listener.training = True

    def forget(self) -> None:
        """Begin a new table; where the sites are stays known."""
        self._listener.forget()
        if self._layers is not None:
            self._layers.kept = {}

    def heard_table(self) -> pd.DataFrame | None:
        """Return the statistics of what was reached, and how often; None where no pass was counted."""
        return self._build_table() if self._listener.heard else None

    @property
    def spoiled(self) -> str | None:
        """Why what was heard can't be told apart, if it can't."""
        return self._listener.spoiled if isinstance(self._listener, Finder) else None

    def first_nonfinite(self) -> tuple[str, str] | None:
        """Return where values stop being finite, the direction and the row's name, in the order of computation."""
        return find_nonfinite(self._listener)

    def _build_layers(self, model: nn.Module) -> tuple[LayerListener[Kept] | None, list[JunctionPaths]]:
        # Nothing is hooked inside the blocks unless a statistic needs it.
        roles = self._reducer.layer_roles
        junctions = _find_junctions(model) if "weights" in roles else []
        if not roles:
            return None, []
        weighted = {path for junction in junctions for path in (*junction.writers, *junction.readers)}
        return LayerListener(model, roles, self._reducer.reduce, merge_kept, self._listener, weighted), junctions

    def __enter__(self) -> Self:
        self._listener.__enter__()
        try:
            if self._layers is not None:
                self._layers.__enter__()
        except BaseException:
            self._listener.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._layers is not None:
            self._layers.__exit__(kind, error, trace)
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
    def found(self) -> Findings | None:
        """The same where nothing was corrected: what another pass of this code may take for granted."""
        return None if self._corrected else self.findings

    def trust(self, found: Findings | None) -> None:
        """Listen to the first pass at what an earlier one of the same code had, or what is found with a few samples.

        Where that is not what the pass has, it raises an ``OtherWayError``, and another probe has to take a full look.
        """
        if isinstance(self._listener, Finder) and not self._corrected:
            self._listener.trusts, self._listener.known = True, found

    def look_ahead(self) -> None:
        """Look at the passes to come, and hear nothing."""
        listener = self._listener
        if isinstance(listener, Finder):
            self._listener = Survey(listener.model, [], listener.reduce, listener.merge, correct=listener.correct)
            self._layers = None

    def follow(self, other: Probe) -> None:
        """Listen to the very passes that another probe has looked at."""
        if isinstance(self._listener, Finder) and isinstance(other._listener, Survey):
            self._listener.ways = other._listener.united()

    @property
    def gradients(self) -> Gradients | None:
        """What hears the backward direction, where a statistic of the gradient was asked for."""
        return self._listener.gradients

    @property
    def raised(self) -> Exception | None:
        """What ``on_site`` raised, if it did."""
        return self._listener.raised

    def table(self) -> pd.DataFrame:
        """Return the statistics of everything seen so far.

        Returns:
            One row per block, columns as in ``sppkit.record.table.COLUMNS``, and one for each further statistic.

        Raises:
            MeasurementError: If a site was never reached.
        """
        self._listener.check_complete()
        return self._build_table()

    def _build_table(self) -> pd.DataFrame:
        layers = {} if self._layers is None else self._layers.kept
        return build_table(iter_rows(self._listener, layers, self._junctions, self._reducer, self._seed))

    def _reduce_site(self, site: Site, signal: Tensor) -> Kept:
        if self._layers is not None and site.role == "block_output":
            self._layers.end_block(site.block, signal)
        return self._reducer.reduce(site.role, signal)

    def _summarize_site(self, site: Site, signal: Tensor) -> Kept:
        kept = self._reduce_site(site, signal)
        if signal.device.type != "cpu":
            return kept  # the table is to wait for the device, and once
        summary = self._reducer.summarize(site.role, kept)
        return {name: value.item() if isinstance(value, Tensor) else value for name, value in summary.items()}


def _find_junctions(model: nn.Module) -> list[JunctionPaths]:
    try:
        return find_junction_paths(model)
    except UsageError:  # its weights can't be balanced: there is no gap to show
        return []


def _check_callback(on_site: object) -> Callable[[Site], None] | None:
    if on_site is not None and not callable(on_site):
        raise UsageError(f"on_site must be a function of a site, not {on_site!r}.")
    return on_site


def _check_stats(stats: object) -> tuple[str, ...]:
    return statistics("stats", DEFAULT_STATISTICS if stats is None else stats)
