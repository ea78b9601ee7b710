"""From what a user typed to a checked value, or one clear line.

Each parser takes the option's name and the value as it came from a flag (text), a TOML file or Python, returns the
value to use, and raises ``UsageError`` with the legal values otherwise.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.machine.printable import as_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Number = TypeVar("_Number", int, float)

# An error message shows so much of a value.
_SHOWN = 60


def flag_of(name: str) -> str:
    """Return an option's flag.

    >>> flag_of("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str, object], int]:
    """Return a parser of whole numbers between ``minimum`` and ``maximum``."""
    limits = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def parse(name: str, value: object) -> int:
        number = _read(int, value)
        if number is None or number < minimum or (maximum is not None and number > maximum):
            raise UsageError(f"{flag_of(name)} must be a whole number {limits}, not {_shown(value)}.")
        return number

    return parse


# The table's seeds are 64-bit integers, and torch's generators take no more.
LARGEST_SEED = 2**63 - 1
parse_seed = whole_number(0, LARGEST_SEED)


def real_number(minimum: float, maximum: float) -> Callable[[str, object], float]:
    """Return a parser of numbers from ``minimum`` to ``maximum``."""
    return _real_number(f"a number from {minimum:g} to {maximum:g}", lambda number: minimum <= number <= maximum)


def positive_number(maximum: float) -> Callable[[str, object], float]:
    """Return a parser of numbers above 0, up to ``maximum``."""
    return _real_number(f"a number of more than 0 and at most {maximum:g}", lambda number: 0 < number <= maximum)


def one_of(*choices: str) -> Callable[[str, object], str]:
    """Return a parser of a fixed set of words."""

    def parse(name: str, value: object) -> str:
        return registry.check_name(flag_of(name), _word(value), choices)

    return parse


def keyed(name: str, value: object) -> str:
    """Take ``keyed``, in capitals or not."""
    return one_of("keyed")(name, value.lower() if isinstance(value, str) else value)


def registered(kind: str) -> Callable[[str, object], str]:
    """Return a parser of the registered names of a kind."""

    def parse(name: str, value: object) -> str:  # noqa: ARG001 - parsers share one signature
        return registry.check_name(kind, _word(value), registry.KINDS[kind])

    return parse


def text(name: str, value: object) -> str:
    """Take any text that is not empty."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{flag_of(name)} must be a text that is not empty, not {_shown(value)}.")
    return value


def folder(name: str, value: object) -> str:
    """Take a folder's path."""
    path = text(name, value)
    if not as_utf8(path).isprintable():
        raise UsageError(f"{flag_of(name)} must be a folder without control characters in it, not {_shown(path)}.")
    return path


def file_stem(name: str, value: object) -> str:
    """Take a file name without a folder in it."""
    stem = text(name, value)
    if not as_utf8(stem).isprintable():
        raise UsageError(f"{flag_of(name)} must be a file name without control characters, not {_shown(stem)}.")
    if "/" in stem or "\\" in stem or stem in {".", ".."}:
        raise UsageError(f"{flag_of(name)} must be a file name, not a path ({stem!r}); --out DIR names the folder.")
    return stem


def true_or_false(name: str, value: object) -> bool:
    """Take true or false, Python's or NumPy's."""
    if type(value).__name__ not in {"bool", "bool_"}:
        raise UsageError(f"{flag_of(name)} must be true or false, not {_shown(value)}.")
    return bool(value)


def whole_numbers(example: str, *, maximum: int, most: int) -> Callable[[str, object], tuple[int, ...]]:
    """Return a parser of up to ``most`` whole numbers from 1 to ``maximum``, as ``"3,4,6,3"``, a list or an array."""
    parse_item = whole_number(1, maximum)

    def parse(name: str, value: object) -> tuple[int, ...]:
        items = _items(value)
        try:
            numbers = tuple(parse_item(name, item) for item in items[: most + 1])
        except UsageError:
            numbers = ()
        if not 1 <= len(numbers) <= most:
            raise UsageError(
                f"{flag_of(name)} must be 1 to {most} whole numbers from 1 to {maximum} with commas between, "
                f"as in {example}, not {_shown(value)}."
            )
        return numbers

    return parse


def sample_shape(example: str, *, maximum: int, most: int, vocabulary: int) -> Callable[[str, object], Any]:
    """Return a parser of one shape, or of one for each argument of a forward pass: ``a=3,32,32``, ``b=16:1000``.

    What stands after a colon is the number of different tokens. Shapes by name stay text, as they are written.
    """
    plain = whole_numbers(example, maximum=maximum, most=most)
    tokens = whole_number(1, vocabulary)

    def parse(name: str, value: object) -> tuple[int, ...] | dict[str, str]:
        written = value if isinstance(value, (list, tuple)) and any("=" in str(item) for item in value) else None
        if isinstance(value, str) and "=" in value:
            written = [value]
        if written is None and not isinstance(value, Mapping):
            # A flag that may be repeated comes as a list of texts, also where it was given once.
            if isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], str):
                return plain(name, value[0])
            return plain(name, value)
        items = (
            value.items() if isinstance(value, Mapping) else [str(item).partition("=")[::2] for item in written or ()]
        )
        named = [(str(key).strip(), shape_of(name, key, item)) for key, item in items]
        if len(dict(named)) < len(named):
            raise UsageError(f"{flag_of(name)} names an argument twice: {', '.join(key for key, _ in named)}.")
        return dict(named)

    def shape_of(name: str, key: object, item: object) -> str:
        if not str(key).strip().isidentifier():
            raise UsageError(
                f"{flag_of(name)} by name is ARGUMENT=SHAPE, as in --shape image=3,32,32, not {_shown(key)}."
            )
        text = item if isinstance(item, str) else ",".join(map(str, _items(item)))
        sizes, colon, vocab = text.partition(":")
        shape = ",".join(map(str, plain(name, sizes)))
        return f"{shape}:{tokens('vocab', vocab)}" if colon else shape

    return parse


def split_shape(text: str) -> tuple[tuple[int, ...], int | None]:
    """Return the numbers and the vocabulary of a shape that was given by name.

    >>> split_shape("3,32,32"), split_shape("16:1000")
    (((3, 32, 32), None), ((16,), 1000))
    """
    sizes, colon, vocab = text.partition(":")
    return tuple(map(int, sizes.split(","))), int(vocab) if colon else None


def names_of(kind: str, known: Iterable[str]) -> Callable[[str, object], tuple[str, ...]]:
    """Return a parser of a comma-separated text or a list of known names."""

    def parse(name: str, value: object) -> tuple[str, ...]:
        words = [_word(item).strip() for item in _items(value)]
        if not words or "" in words:
            raise UsageError(f"{flag_of(name)} must be names with commas between, not {_shown(value)}.")
        return tuple(dict.fromkeys(registry.check_name(kind, word, known) for word in words))

    return parse


def statistics(name: str, value: object) -> tuple[str, ...]:
    """Take names of statistics, and of groups of them, as a comma-separated text or a list."""
    groups = registry.STATISTIC_GROUPS
    words = names_of("statistic", [*groups, *registry.STATISTICS])(name, value)
    return tuple(dict.fromkeys(item for word in words for item in groups.get(word, (word,))))


def monitored_statistics(name: str, value: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take the same for a training; return what is measured in its passes, and what of a step's parameters.

    >>> monitored_statistics("stats", "gradient_second_moment,weight_norm")
    (('gradient_second_moment',), ('weight_norm',))
    """
    groups = registry.STATISTIC_GROUPS | {"training": tuple(registry.TRAINING_STATISTICS)}
    words = names_of("statistic", [*groups, *registry.STATISTICS, *registry.TRAINING_STATISTICS])(name, value)
    names = tuple(dict.fromkeys(item for word in words for item in groups.get(word, (word,))))
    of_step = tuple(item for item in registry.TRAINING_STATISTICS if item in names)
    return tuple(item for item in names if item not in of_step), of_step


def exact_or_number(maximum: float) -> Callable[[str, object], float | str]:
    """Return a parser of ``exact`` or a positive number up to ``maximum``."""
    legal = f"'exact' or a number of more than 0 and at most {maximum:g}"
    parse_number = _real_number(legal, lambda number: 0 < number <= maximum)

    def parse(name: str, value: object) -> float | str:
        return "exact" if isinstance(value, str) and value == "exact" else parse_number(name, value)

    return parse


def settings(name: str, value: object) -> str:
    """Take settings as ``key=value,key=value``, or as a mapping; return them in one spelling."""
    pairs = [(str(key), _plain(item)) for key, item in value.items()] if isinstance(value, Mapping) else None
    if pairs is None:
        pairs = split_settings(name, text(name, value))
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys) or not pairs:
        raise UsageError(f"{flag_of(name)} must give each setting once, not {_shown(value)}.")
    return ",".join(f"{key}={item}" for key, item in sorted(pairs))


def split_settings(name: str, value: str) -> list[tuple[str, str]]:
    """Split ``key=value,key=value`` into pairs."""
    pairs = [tuple(part.strip() for part in item.partition("=")[::2]) for item in value.split(",")]
    if not all(key and item for key, item in pairs):
        raise UsageError(f"{flag_of(name)} must be settings as in groups=16,affine=channel, not {_shown(value)}.")
    return [(key.replace("_", "-"), item) for key, item in pairs]


def placed(kind: str, places: tuple[str, ...], default: str) -> Callable[[str, object], str]:
    """Return a parser of registered names with a place each, as ``name@place+name@place``, in one spelling."""

    def parse(name: str, value: object) -> str:
        found: dict[str, str] = {}
        for item in text(name, value).split("+"):
            word, _, place = (part.strip() for part in item.partition("@"))
            registry.check_name(kind, word, registry.KINDS[kind])
            if word in found:
                raise UsageError(f"{flag_of(name)} gives {word} twice; each can stand in one place.")
            found[word] = registry.check_name(f"place in {flag_of(name)}", place or default, places)
        return "+".join(f"{word}@{found[word]}" for word in registry.KINDS[kind] if word in found)

    return parse


def name_or_callable(name: str, value: object) -> Any:
    """Take a registered activation's name, or any callable from Python."""
    return value if callable(value) else registered("activation")(name, value)


def keywords(name: str, value: object) -> dict[str, Any]:
    """Take ``key=value`` texts, or a mapping: a value is a Python or TOML literal, else text.

    >>> keywords("kw", ["depth=3", "size=(4, 4)", "bias=false", "act=gelu"])
    {'depth': 3, 'size': (4, 4), 'bias': False, 'act': 'gelu'}
    """
    written = value if isinstance(value, (list, tuple)) else [value]
    given = dict(value) if isinstance(value, Mapping) else dict(map(_split_keyword, written))
    for key, item in given.items():
        if not isinstance(key, str) or not key.isidentifier() or not _is_recordable(item):
            typed = f"{key}={item}" if item is not None else str(key).strip()
            raise UsageError(f"{flag_of(name)} must be key=value, as in --kw depth=3, not {_shown(typed)}.")
    return given


def _split_keyword(written: object) -> tuple[str, Any]:
    key, equals, value = str(written).partition("=")
    # A trailing blank makes it no name, and so the text is refused as it was typed.
    return (key.strip(), _literal(value.strip())) if equals else (f"{key} ", None)


def _literal(written: str) -> Any:
    if written in {"true", "false"}:
        return written == "true"
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # no literal, or one that never ends
        return written


def _is_recordable(value: object) -> bool:
    # The record of the run is JSON.
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_recordable(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_recordable, value))
    return isinstance(value, (str, int, type(None))) or (isinstance(value, float) and math.isfinite(value))


def _real_number(legal: str, is_legal: Callable[[float], bool]) -> Callable[[str, object], float]:
    def parse(name: str, value: object) -> float:
        number = _read(float, value)
        if number is None or not math.isfinite(number) or not is_legal(number):
            raise UsageError(f"{flag_of(name)} must be {legal}, not {_shown(value)}.")
        return number

    return parse


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(kind: Callable[[str], _Number], value: object) -> _Number | None:
    # By way of the text, so that NumPy's numbers pass; true is no number, and 1_000 is one only to Python.
    try:
        written = str(value)
        return None if "_" in written else kind(written)
    except ValueError:
        return None


def _items(value: object) -> list[object]:
    if isinstance(value, str):
        return list(value.split(","))
    listed = value.tolist() if hasattr(value, "tolist") else value  # a NumPy array or a tensor
    return list(listed) if isinstance(listed, (list, tuple, range)) else []


def _word(value: object) -> str:
    return value if isinstance(value, str) else _shown(value)


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number of thousands of digits"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
