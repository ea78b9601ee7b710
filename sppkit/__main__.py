"""Entry point of ``sppkit`` and ``python -m sppkit``."""

from __future__ import annotations

import sys

from sppkit.machine.interrupts import EndRequestedError


def main() -> None:
    """Run the command line."""
    try:
        from sppkit.cli.app import app
        from sppkit.cli.console import end_cleanly_on_signals
        from sppkit.machine.allocator import collect_rarely, keep_freed_memory

        end_cleanly_on_signals()
        keep_freed_memory()
        collect_rarely()
        app(prog_name="sppkit")
    except KeyboardInterrupt:  # before a command was there to say so
        sys.exit(130)  # what a shell reports of an interrupted program
    except EndRequestedError as request:
        sys.exit(request.code)


if __name__ == "__main__":
    main()
