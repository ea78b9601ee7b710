"""What the callbacks of every trainer share: the monitor that watches, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from sppkit.measuring.training.monitor import Monitor


class Watch:
    """A monitor that is there once a training has begun."""

    monitor: Monitor | None = None

    def stop(self) -> None:
        """Stop watching."""
        if self.monitor is not None:
            self.monitor.__exit__(None, None, None)

    def table(self) -> pd.DataFrame:
        """Return what was recorded, as ``Monitor.table``; a ``UsageError`` if no training has begun."""
        if self.monitor is None:
            raise UsageError("there is no table yet: no training has begun.")
        return self.monitor.table()
