"""From what a user typed to a checked value, or one clear line.

Each parser takes the option's name and the value as it came from a flag (text), a TOML file or Python, returns the
value to use, and raises ``UsageError`` with the legal values otherwise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sppkit import registry
from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def flag_of(name: str) -> str:
    """Return an option's flag.

    Args:
        name: The option's name.

    Returns:
        The flag as it is typed.

    >>> flag_of("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")


def whole_number(minimum: int) -> Callable[[str, object], int]:
    """Return a parser of whole numbers of at least ``minimum``."""

    def parse(name: str, value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = None
        if number is None or isinstance(value, bool) or number < minimum:
            raise UsageError(f"{flag_of(name)} must be a whole number of at least {minimum}, not {value!r}.")
        return number

    return parse


def real_number(
    minimum: float = -math.inf, *, above: bool = False, maximum: float = math.inf
) -> Callable[[str, object], float]:
    """Return a parser of finite numbers between ``minimum`` (excluded if ``above``) and ``maximum``."""
    limits = [f"{'more than' if above else 'at least'} {minimum:g}"] * (minimum > -math.inf)
    limits += [f"at most {maximum:g}"] * (maximum < math.inf)
    legal = (
        " ".join(["a finite number", *[" and ".join(limits)]]).replace("number ", "number of ")
        if limits
        else "a finite number"
    )

    def parse(name: str, value: object) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(str(value))
        except ValueError:
            number = math.nan
        too_small = number <= minimum if above else number < minimum
        if not math.isfinite(number) or too_small or number > maximum:
            raise UsageError(f"{flag_of(name)} must be {legal}, not {value!r}.")
        return number

    return parse


def one_of(*choices: str) -> Callable[[str, object], str]:
    """Return a parser of a fixed set of words."""

    def parse(name: str, value: object) -> str:
        return registry.check_name(flag_of(name), str(value), choices)

    return parse


def registered(kind: str) -> Callable[[str, object], str]:
    """Return a parser of the registered names of a kind."""

    def parse(name: str, value: object) -> str:  # noqa: ARG001 - parsers share one signature
        return registry.check_name(kind, str(value), registry.KINDS[kind])

    return parse


def text(name: str, value: object) -> str:
    """Take any text that is not empty."""  # noqa: DOC201, DOC501
    if not isinstance(value, str) or not value:
        raise UsageError(f"{flag_of(name)} must be a text that is not empty, not {value!r}.")
    return value


def file_stem(name: str, value: object) -> str:
    """Take a file name without a folder in it."""  # noqa: DOC201, DOC501
    stem = text(name, value)
    if "/" in stem or "\\" in stem or stem in {".", ".."}:
        raise UsageError(f"{flag_of(name)} must be a file name, not a path ({stem!r}); --out DIR names the folder.")
    return stem


def true_or_false(name: str, value: object) -> bool:
    """Take true or false."""  # noqa: DOC201, DOC501
    if not isinstance(value, bool):
        raise UsageError(f"{flag_of(name)} must be true or false, not {value!r}.")
    return value


def whole_numbers(name: str, value: object) -> tuple[int, ...]:
    """Take whole numbers of at least 1, as ``"3,4,6,3"`` or a list."""  # noqa: DOC201, DOC501
    items = value.split(",") if isinstance(value, str) else value
    try:
        return tuple(whole_number(1)(name, item) for item in items)  # type: ignore[attr-defined]
    except (UsageError, TypeError):
        raise UsageError(
            f"{flag_of(name)} must be whole numbers of at least 1 with commas between, as in 3,4,6,3, not {value!r}."
        ) from None


def names_of(kind: str, known: Iterable[str]) -> Callable[[str, object], tuple[str, ...]]:
    """Return a parser of a comma-separated text or a list of known names."""

    def parse(name: str, value: object) -> tuple[str, ...]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not items:
            raise UsageError(f"{flag_of(name)} must be names with commas between, not {value!r}.")
        return tuple(dict.fromkeys(registry.check_name(kind, str(item).strip(), known) for item in items))

    return parse


def exact_or_number(name: str, value: object) -> float | str:
    """Take ``exact`` or a positive number."""  # noqa: DOC201, DOC501
    if value == "exact":
        return "exact"
    try:
        return real_number(0, above=True)(name, value)
    except UsageError:
        raise UsageError(f"{flag_of(name)} must be 'exact' or a number of more than 0, not {value!r}.") from None


def name_or_callable(name: str, value: object) -> Any:
    """Take a registered activation's name, or any callable from Python."""  # noqa: DOC201
    return value if callable(value) else registered("activation")(name, value)
