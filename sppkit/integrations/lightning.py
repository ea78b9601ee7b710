"""Lightning: a callback with which a ``Trainer`` watches the signal of its module.

trainer = Trainer(callbacks=[SignalPropagation(every=100, to="csv:runs/spp.csv")])
"""

from __future__ import annotations

from typing import Any

from sppkit.errors import UsageError
from sppkit.integrations.watch import Watch
from sppkit.measuring.training.monitor import Monitor

try:
    from lightning.pytorch import Callback
except ImportError:
    raise ImportError(
        "sppkit.integrations.lightning needs Lightning, which is not installed here.\n"
        "Install it: pip install 'sppkit[lightning]'"
    ) from None


class SignalPropagation(Watch, Callback):
    """A monitor over the optimizer's steps of a ``Trainer``; its state is part of every checkpoint."""

    def __init__(self, module: str = "", **settings: Any) -> None:
        """Prepare to watch.

        Args:
            module: The attribute of the ``LightningModule`` that ``training_step`` calls, for instance ``net``; the
                ``LightningModule`` itself, where it calls ``self(x)``.
            **settings: As for ``sppkit.Monitor``: ``every``, ``stats``, ``to``, ...
        """
        self._module, self._settings = module, settings
        self._state: dict[str, Any] = {"step": 0}
        self._steps = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch; where there are several processes, the first one writes."""
        settings = self._settings if trainer.is_global_zero else {**self._settings, "to": ()}
        self.monitor = Monitor(pl_module.get_submodule(self._module), **settings)
        self.monitor.load_state_dict(self._state)
        self._steps = trainer.global_step
        self.monitor.__enter__()

    def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        """End a step where the optimizer took one; other batches are accumulated.

        Raises:
            UsageError: If nothing was seen in the first one.
        """
        if self.monitor is None or trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        self.monitor.step()
        if self.monitor.state_dict() == {"step": 1} and self.monitor.table().empty:
            raise UsageError(
                "the first step was monitored, and no forward pass of the module was seen.\n"
                "Name the module that training_step calls: SignalPropagation(module='net')."
            )

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Stop watching."""
        self.stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002
        """Stop watching."""
        self.on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the monitor's state for a checkpoint.

        Returns:
            As ``Monitor.state_dict``.
        """
        return self._state if self.monitor is None else self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state until training starts.

        Args:
            state_dict: What ``state_dict`` returned.
        """
        self._state = state_dict
