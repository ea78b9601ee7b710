"""What can go wrong by a user's hand, as exceptions whose text is ready to be shown."""

from __future__ import annotations


class SppkitError(Exception):
    """A mistake or a limit that the user can act on; its text says what was wrong and what to type next.

    The command line prints the text without a traceback and exits with ``exit_code``.
    """

    exit_code = 2


class UsageError(SppkitError, ValueError):
    """An option, name, file or shape that can't be used as given."""


class MeaninglessOptionError(UsageError):
    """An option that means nothing for the chosen architecture.

    Attributes:
        option: The option's name, with underscores.
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


class MeasurementError(SppkitError, RuntimeError):
    """The forward pass itself failed; the text names the last site that was reached."""


class DoesNotFitError(SppkitError, MemoryError):
    """The network would need more memory than the machine has; said before it is built."""
