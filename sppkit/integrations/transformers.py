"""transformers: a callback with which a ``Trainer`` watches the signal of its model.

trainer = Trainer(model, args, callbacks=[SignalPropagation(every=100, to="csv:runs/spp.csv")])
"""

from __future__ import annotations

from typing import Any

from sppkit.errors import UsageError
from sppkit.integrations.watch import Watch
from sppkit.measuring.training.monitor import Monitor

try:
    from transformers import TrainerCallback
except ImportError:
    raise ImportError(
        "sppkit.integrations.transformers needs transformers, which is not installed here.\n"
        "Install it: pip install 'sppkit[models]'"
    ) from None


class SignalPropagation(Watch, TrainerCallback):
    """A monitor over the steps of a ``Trainer``; a training that is resumed goes on at its step."""

    def __init__(self, **settings: Any) -> None:
        """Prepare to watch.

        Args:
            **settings: As for ``sppkit.Monitor``: ``every``, ``stats``, ``to``, ...
        """
        self._settings = settings

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Begin to watch; where there are several processes, the first one writes.

        Raises:
            UsageError: If the Trainer compiles its model.
        """
        if args.torch_compile:
            raise UsageError("the Trainer compiles its model (torch_compile=True), and compiled code can't be watched.")
        settings = self._settings if state.is_world_process_zero else {**self._settings, "to": ()}
        self.monitor = Monitor(model, **settings)
        self.monitor.load_state_dict({"step": state.global_step})
        self.monitor.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """End a step."""
        if self.monitor is not None:
            self.monitor.step()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Stop watching."""
        self.stop()
