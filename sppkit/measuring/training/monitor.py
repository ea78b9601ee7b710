"""The monitor: a probe over training steps."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pandas as pd

from sppkit.config.parsers import monitored_statistics, whole_number
from sppkit.errors import UsageError
from sppkit.measuring.declared_sites import as_network
from sppkit.measuring.probe import Probe
from sppkit.measuring.training.parameters import ParameterNorms
from sppkit.measuring.training.sinks import make_sinks
from sppkit.record.table import STEP, build_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from torch import nn

    from sppkit.measuring.training.sinks import Sink

_LOG = logging.getLogger("sppkit")
_COMPILED = (
    "the model was compiled before the monitor: compiled code calls no hooks that come after it.\n"
    "Monitor the model that was given to torch.compile, and train with that one, or leave compiling out."
)


class BadSite(NamedTuple):
    """Where values stopped being finite.

    Attributes:
        step: The monitored step at which this was seen first.
        direction: ``forward`` or ``backward``.
        name: The first row that lost values, in the order of computation: in the backward direction from the end on.
        before: The rows of the monitored step before.
    """

    step: int
    direction: str
    name: str
    before: pd.DataFrame | None


class Monitor:
    """Measure the user's own training: every N-th step, in its own forward and backward passes.

    The monitor only listens: training is bit for bit what it is without one. Between monitored steps no hook is on the
    model. Several passes of one step, as in gradient accumulation, are merged; those in eval mode or under
    ``torch.no_grad()`` do not count. A layer that was skipped in all passes of a step has no row in it, and the column
    ``passes`` says how many a row comes from.

    >>> import torch, sppkit
    >>> model = sppkit.build_model("nf-resnet", stages=(1, 1), width=0.125)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with sppkit.Monitor(model, every=2) as monitor:
    ...     for _ in range(4):
    ...         model(torch.ones(2, 3, 32, 32)).mean().backward()
    ...         optimizer.step()
    ...         monitor.step()
    >>> list(monitor.table()["step"].unique())
    [np.int64(0), np.int64(2)]
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 1,
        stats: Sequence[str] | str | None = None,
        to: Sequence[str | Callable[[pd.DataFrame], object]] | str | Callable[[pd.DataFrame], object] = (),
        group: object = None,
        seed: int = 0,
        sites: Any = None,
        loss_scale: object = None,
    ) -> None:
        """Prepare to listen; nothing is hooked or opened before the context is entered.

        Args:
            model: A network, not compiled.
            every: Steps 0, ``every``, 2 ``every``, ... are monitored.
            stats: As for ``Probe``; ``("spp", "gradient")`` for both directions. ``"training"``, or ``weight_norm``,
                ``weight_gradient_norm``, ``update_to_weight``, take what each step does to the parameters of a block.
            to: Where the table of each monitored step goes: ``csv:PATH``, ``parquet:PATH``, ``tensorboard:DIR``,
                ``wandb:`` (or ``wandb:PROJECT``), a function of the table, or several of them.
            group: Reserved for merging over processes; None, so that each process monitors its own batches.
            seed: What the table's ``seed`` column says.
            sites: As for ``Probe``.
            loss_scale: As for ``Probe``.

        Raises:
            UsageError: If an argument can't be used, or a library that a sink needs is not installed.
        """
        _check_uncompiled(as_network(model))
        if group is not None:
            raise UsageError(f"group must be None, not {group!r:.60}: a monitor does not merge processes.")
        self._model = model
        self._every = whole_number(1)("every", every)
        of_passes, of_step = ((), ()) if stats is None else monitored_statistics("stats", stats)
        self._probe = Probe(model, stats=of_passes or None, seed=seed, sites=sites, loss_scale=loss_scale)
        self._parameters = ParameterNorms(as_network(model), of_step)
        self._probe.follow_training()
        self._sinks = make_sinks(to)
        self._tables: list[pd.DataFrame] = []
        self._step = 0
        self._open = False
        self._listening: ExitStack | None = None
        self._bad: BadSite | None = None

    def __enter__(self) -> Self:
        if self._open:
            raise UsageError("this monitor is open already; leave its context before you enter it again.")
        with ExitStack() as stack:
            stack.callback(self._close)
            for sink in self._sinks:
                sink.open(self._step)
            self._open = True
            self._listen_if_due()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def first_bad_site(self) -> BadSite | None:
        """Where values stopped being finite; None as long as all are."""
        return self._bad

    def step(self) -> None:
        """End a training step; call it behind each step of the optimizer.

        Raises:
            UsageError: If the context is not open.
        """
        if not self._open:
            raise UsageError("monitor.step() was called outside of the monitor: train inside `with monitor:`.")
        if self._listening is not None:
            self._stop()
            self._record()
        self._step += 1
        self._listen_if_due()

    def table(self) -> pd.DataFrame:
        """Return what was recorded since this monitor was made.

        Returns:
            One row per (step, block), ``step`` first, then as in ``Probe.table``, with the column ``passes``.
        """
        if not self._tables:
            return build_table([]).assign(**{STEP: pd.Series(dtype="Int64")})[[STEP, *build_table([]).columns]]
        return pd.concat(self._tables, ignore_index=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs, so that the steps and the sinks go on.

        Returns:
            A dict to hand to ``load_state_dict``.
        """
        return {STEP: self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; what sinks hold of its step and later ones is cut off, and written again.

        Args:
            state: What ``state_dict`` returned.

        Raises:
            UsageError: If the context is open, or it is none of ours.
        """
        if self._open:
            raise UsageError("load the state of a monitor before you enter its context.")
        if STEP not in state:
            raise UsageError(f"this is no state of a monitor: it has no {STEP!r}.")
        self._step = whole_number(0)(STEP, state[STEP])

    def _listen_if_due(self) -> None:
        if self._step % self._every == 0:
            _check_uncompiled(self._model)
            self._probe.forget()
            self._parameters.begin()
            with ExitStack() as stack:
                stack.enter_context(self._probe)
                self._listening = stack.pop_all()

    def _stop(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()

    def _record(self) -> None:
        spoiled = self._probe.spoiled
        if spoiled is not None:
            _LOG.warning("step %d is not recorded: %s.", self._step, spoiled)
            return
        table = self._probe.heard_table()
        if table is None:  # a step without a pass
            return
        self._parameters.add_to(table, self._probe.findings)
        table.insert(0, STEP, pd.Series(self._step, table.index, "Int64"))
        self._note_nonfinite()
        self._tables.append(table)
        for sink in list(self._sinks):
            self._write(sink, table)

    def _write(self, sink: Sink, table: pd.DataFrame) -> None:
        try:
            sink.write(table)
            if self._bad is not None and self._bad.step == self._step:
                sink.flush()
        except OSError as error:  # a full disk is no reason to end a training
            self._sinks.remove(sink)
            _LOG.warning("nothing is written to %s from step %d on: %s.", sink.name, self._step, error)

    def _note_nonfinite(self) -> None:
        found = None if self._bad is not None else self._probe.first_nonfinite()
        if found is None:
            return
        self._bad = BadSite(self._step, *found, self._tables[-1] if self._tables else None)
        where = f"going {found[0]}, the first such value is at {found[1]!r}"
        before = f"step {self._tables[-1][STEP].iloc[0]} was finite" if self._tables else "none was monitored before"
        _LOG.warning("values are not finite at step %d: %s; %s.", self._step, where, before)

    def _close(self) -> None:
        self._open = False
        with ExitStack() as stack:  # every one of them, whatever another raises
            for sink in self._sinks:
                stack.callback(sink.close)
            stack.callback(self._stop)
            stack.callback(self._parameters.forget)


def _check_uncompiled(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise UsageError(_COMPILED)
