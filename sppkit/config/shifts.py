"""What a user types for one shift: ``NAME[:argument...][:key=value,...]`` or ``path/file.py:function``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit import registry
from sppkit.config import parsers
from sppkit.config.settings import setting_parser
from sppkit.errors import UsageError
from sppkit.registry.entries import ShiftEntry, Text, Whole, Words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sppkit.registry.entries import Setting

# A function of the user's own, which gets pictures and moves in them whatever it likes.
_OWN = ShiftEntry("", "a function of the user's own", moves=True)


@dataclass(frozen=True)
class ChosenShift:
    """One shift, checked, not yet loaded.

    Attributes:
        text: In one spelling, as a record has it.
        name: Its registered name; for a function of the user's own, the function's.
        values: Arguments and settings, by keyword, of those that were given.
        file: The file of the user's function, or None for a registered shift.
    """

    text: str
    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None

    @property
    def entry(self) -> ShiftEntry:
        """What is known of it."""
        return _OWN if self.file is not None else registry.SHIFTS[self.name]


def parse_shift(text: str) -> ChosenShift:
    """Read one shift.

    >>> parse_shift("apr-p:axes=hw").values, parse_shift("shifts/mine.py:darker").name
    ({'axes': 'hw'}, 'darker')
    """
    parts = parsers.text("shift", text).strip().split(":")
    name = registry.SHIFT_ALIASES.get(parts[0], parts[0])
    if name in registry.SHIFTS:
        return _registered(name, parts[1:])
    place, _, function = text.strip().rpartition(":")
    if place.endswith(".py"):
        return _own(Path(place), function)
    if text.strip().endswith(".py"):
        raise UsageError(f"--shift {text}: name the function in it, as in {text}:function.")
    registry.check_name("shift", name, registry.SHIFTS)
    raise UsageError(f"unknown shift {text!r:.60}.")  # what is not registered was refused above


def one_shift(name: str, value: object) -> str:
    """Take one shift, in one spelling."""
    if isinstance(value, (list, tuple)):
        raise UsageError("a run has one --shift; several over each other: sppkit shift.")
    return parse_shift(parsers.text(name, value)).text


def parse_nuisance(text: str) -> ChosenShift:
    """Read one nuisance: any shift, in messages by this name."""
    try:
        return parse_shift(text)
    except UsageError as error:
        told = str(error).replace("--shift", "--nuisance").replace("unknown shift", "unknown nuisance")
        raise UsageError(told) from None


def shift_options(name: str, value: object) -> tuple[str, ...]:
    """Take one shift, or several as a list, each in one spelling."""
    items = value if isinstance(value, (list, tuple)) else [value]
    chosen = tuple(one_shift(name, item) for item in items)
    twice = next((text for text in chosen if chosen.count(text) > 1), None)
    if twice is not None:
        raise UsageError(f"--shift {twice} is given twice.")
    return chosen


def check_input(text: str, source: str) -> None:
    """Refuse an input that has no pictures where a shift needs them."""
    if source == "tokens" or (source == "gaussian" and not parse_shift(text).entry.any_values):
        what = "random tokens" if source == "tokens" else "Gaussian noise"
        any_values = ", ".join(name for name, entry in registry.SHIFTS.items() if entry.any_values)
        remedy = "" if source == "tokens" else f", or a shift that takes any values: {any_values}"
        raise UsageError(
            f"--shift {text} is for pictures, and the input is {what}.\nGive a folder of pictures as --input{remedy}."
        )


def _registered(name: str, parts: Sequence[str]) -> ChosenShift:
    entry = registry.SHIFTS[name]
    positional = list(parts)
    written = positional.pop() if positional and _are_settings(positional[-1], entry) else ""
    if len(entry.arguments) == 1 and isinstance(next(iter(entry.arguments.values())), Text):
        positional = [":".join(positional)] if positional else []  # a path may have a colon of its own
    if len(positional) != len(entry.arguments) or "" in positional:
        raise UsageError(_wrong_form(name, entry, [*parts]))
    arguments = {
        key: setting_parser(setting)(f"shift {name}: {key}", typed)
        for (key, setting), typed in zip(entry.arguments.items(), positional, strict=True)
    }
    settings = _settings(name, entry, written) if written else {}
    told = [*(str(value) for value in arguments.values()), ",".join(f"{key}={settings[key]}" for key in settings)]
    text = ":".join([name, *filter(None, told)])
    return ChosenShift(text, name, {key.replace("-", "_"): value for key, value in (arguments | settings).items()})


def _are_settings(part: str, entry: ShiftEntry) -> bool:
    # The last part, unless it can only be the path that the shift needs.
    return "=" in part and (part.partition("=")[0].strip() in entry.settings or not _takes_path(entry))


def _takes_path(entry: ShiftEntry) -> bool:
    return any(isinstance(setting, Text) for setting in entry.arguments.values())


def _settings(name: str, entry: ShiftEntry, written: str) -> dict[str, Any]:
    pairs = parsers.split_settings(f"shift {name}", written)
    given = dict(pairs)
    if len(given) < len(pairs):
        raise UsageError(f"--shift {name} gives a setting twice: {written!r:.60}.")
    for key in given:
        if key not in entry.settings:
            has = f"it has {', '.join(sorted(entry.settings))}" if entry.settings else "it has none"
            raise UsageError(f"--shift {name}: it has no setting {key!r:.60}; {has}.")
    return {key: setting_parser(entry.settings[key])(f"shift {name}: {key}", given[key]) for key in sorted(given)}


def _wrong_form(name: str, entry: ShiftEntry, parts: Sequence[str]) -> str:
    form = ":".join([name, *(f"{key.upper()}" for key in entry.arguments)])
    settings = "".join(f" {key} is {_legal(setting)}." for key, setting in entry.arguments.items())
    further = ":key=value,..." if entry.settings else ""
    return f"--shift {':'.join([name, *parts])!s:.80} must be {form}{f'[{further}]' if further else ''}.{settings}"


def _legal(setting: Setting) -> str:
    if isinstance(setting, Words):
        return f"one of {', '.join(setting.legal)}"
    if isinstance(setting, Text):
        return f"a {setting.metavar}"
    kind = "a whole number" if isinstance(setting, Whole) else "a number"
    return f"{kind} from {setting.least:g} to {setting.most:g}"


def _own(file: Path, function: str) -> ChosenShift:
    if not function.isidentifier():
        raise UsageError(f"--shift {file}:{function}: {function!r:.60} is no function's name; as in {file}:darker.")
    return ChosenShift(f"{file}:{function}", function, file=file)
