"""Entry point of ``sppkit`` and ``python -m sppkit``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from sppkit.cli.app import app

    app(prog_name="sppkit")


if __name__ == "__main__":
    main()
