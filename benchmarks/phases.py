"""Where the main command spends its time: ``python -m benchmarks.phases OPTIONS-OF-PLOT`` prints seconds by phase.

A phase's time is its own: what is spent in another phase inside of it is counted there.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sppkit.machine.allocator import collect_rarely, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable

# Phase, module, and the function that it is (of a class, or of the module that calls it).
PHASES = (
    ("lay out", "sppkit.models.build", "lay_out"),
    ("draw weights", "sppkit.models.build", "materialize"),
    ("forward pass", "sppkit.measuring.measure", "call_model"),
    ("statistics", "sppkit.measuring.listen", "Listener._take"),
    ("statistics", "sppkit.measuring.probe", "Probe.table"),
    ("theory", "sppkit.measuring.run", "with_predictions"),
    ("picture and files", "sppkit.cli.plot", "_write"),
)


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = ["the rest"]
        self._since = time.perf_counter()

    def switch(self) -> None:
        now = time.perf_counter()
        phase = self._open[-1]
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            self.switch()
            self._open.append(phase)
            try:
                return function(*arguments, **keywords)
            finally:
                self.switch()
                self._open.pop()

        return wrapper


def main() -> None:
    clock = Clock()
    keep_freed_memory()
    collect_rarely()
    clock.timed("import torch", __import__)("torch")
    modules = [module for _phase, module, _name in PHASES] + ["sppkit.plot.spp", "sppkit.plot.save"]
    clock.timed("other imports", lambda: [__import__(module) for module in modules])()
    for phase, module, name in PHASES:
        *owners, function = name.split(".")
        owner: Any = functools.reduce(getattr, owners, sys.modules[module])
        setattr(owner, function, clock.timed(phase, getattr(owner, function)))
    from sppkit.cli.app import app

    with suppress(SystemExit):
        app(["plot", *sys.argv[1:]])
    clock.switch()
    print(json.dumps(clock.seconds))


if __name__ == "__main__":
    main()
