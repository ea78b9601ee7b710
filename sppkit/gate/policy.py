"""A policy: which limits a healthy run keeps; a preset's name, a TOML file or a dict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.diagnosis.limit import Level, Limit, Limits, tolerance
from sppkit.diagnosis.presets import PRESETS
from sppkit.errors import UsageError
from sppkit.machine.toml import read_toml
from sppkit.registry import STATISTICS, check_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


# What can be limited beside the statistics; ``quantities`` says what each is.
DERIVED = ("nonfinite", "mean_shift", "growth", "variance_kept", "reset", "addition", "branch_level")
# What is judged against a baseline only; ``effects`` and ``backward`` say what each is.
COMPARED = ("mean_share", "addition_gain", "gradient_factor")
_PREFIX = "predicted_"
# A statistic that no policy names is held against a baseline as the variance is.
_FURTHER = Limit(ratio=1.2, reason="as the variance")
_BOUNDS = ("max", "min", "ratio", "change")
_KEYS = (*_BOUNDS, "sites", "level", "reason")
_LEVELS = ("error", "warn", "off")
_HINT = 'A policy is a preset, or a TOML file as in: channel_squared_mean = {max = 1.0, level = "error"}'


@dataclass(frozen=True)
class Policy:
    """Limits by quantity; several for one quantity are all judged."""

    name: str
    limits: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)

    def ratio(self, quantity: str, block: str) -> tuple[float, Level] | None:
        """Return how far a statistic may be from what is expected at a block."""
        return tolerance(self._known(quantity), quantity, block)

    def change(self, quantity: str, block: str) -> tuple[float, Level] | None:
        """Return how far a share may be from the baseline's at a block."""
        return tolerance(self.limits, quantity, block, "change")

    def _known(self, quantity: str) -> Limits:
        return self.limits if quantity in PRESETS["any"] or quantity in self.limits else {quantity: (_FURTHER,)}


def load_policy(given: object, preset: str) -> Policy:
    """Read a policy."""
    if isinstance(given, Policy):
        return given
    if isinstance(given, Mapping):
        return _merge(given, preset, "the policy")
    if given is None:
        return preset_policy(preset)
    if not isinstance(given, (str, Path)):
        raise UsageError(f"a policy must be a preset's name, a TOML file or a dict, not {given!r:.60}.\n{_HINT}")
    if Path(given).suffix == ".toml":
        return _merge(read_toml(Path(given), "policy", _HINT), preset, str(given))
    return preset_policy(str(given))


def preset_policy(name: str) -> Policy:
    """Return a preset."""
    return Policy(name, PRESETS[check_name("policy", name, PRESETS)])


def _merge(given: Mapping[Any, Any], preset: str, where: str) -> Policy:
    entries = {str(key).replace("-", "_"): value for key, value in given.items()}
    base = preset_policy(_text(entries.pop("preset", preset), f"{where}: preset"))
    limits = dict(base.limits)
    for quantity, value in entries.items():
        _check_quantity(quantity, where)
        stated = list(_iter_limits(value, f"{where}: {quantity}"))
        limits[quantity] = _laid_over(limits.get(quantity, ()), stated)
    return Policy(f"{Path(where).name} over {base.name}" if entries else base.name, limits)


def _laid_over(base: Iterable[Limit], stated: Sequence[Limit]) -> tuple[Limit, ...]:
    if any(limit.level == "off" for limit in stated):
        return ()
    # A bound that is stated for every block takes the place of the preset's; the preset's others stay.
    everywhere = [limit for limit in stated if not limit.sites]
    for kind in _BOUNDS:
        if any(getattr(limit, kind) is not None for limit in everywhere):
            base = [_without(limit, kind) for limit in base]
    return (*(limit for limit in base if limit.limits_something()), *stated)


def _without(limit: Limit, bound: str) -> Limit:
    fields: dict[str, Any] = {bound: None}
    return replace(limit, **fields)


def _check_quantity(quantity: str, where: str) -> None:
    known = [*STATISTICS, *DERIVED, *COMPARED, *(_PREFIX + name for name in STATISTICS)]
    try:
        check_name("statistic", quantity, known)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _iter_limits(value: object, where: str) -> Iterator[Limit]:
    tables = value if isinstance(value, list) else [value]
    if not tables:
        raise UsageError(f"{where} has no limit in it.\n{_HINT}")
    for table in tables:
        if not isinstance(table, Mapping):
            raise UsageError(f"{where} must be a table of {', '.join(_KEYS)}, not {table!r:.60}.\n{_HINT}")
        yield _parse_limit(table, where)


def _parse_limit(table: Mapping[Any, Any], where: str) -> Limit:
    for key in table:
        try:
            check_name("limit", str(key), _KEYS)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    limit = Limit(
        max=_number(table.get("max"), f"{where}.max"),
        min=_number(table.get("min"), f"{where}.min"),
        ratio=_number(table.get("ratio"), f"{where}.ratio"),
        change=_number(table.get("change"), f"{where}.change"),
        sites=_patterns(table.get("sites", ()), f"{where}.sites"),
        level=_text(table.get("level", "error"), f"{where}.level"),
        reason=_text(table.get("reason", ""), f"{where}.reason"),
    )
    _check_possible(limit, where)
    return limit


def _check_possible(limit: Limit, where: str) -> None:
    if limit.level not in _LEVELS:
        raise UsageError(f"{where}.level must be error, warn or off, not {limit.level!r:.60}.")
    if limit.level != "off" and not limit.limits_something():
        raise UsageError(f"{where} limits nothing: give max, min, ratio or change.")
    if limit.max is not None and limit.min is not None and limit.min > limit.max:
        raise UsageError(f"{where} can never pass: min {limit.min:g} is above max {limit.max:g}.")
    if limit.ratio is not None and limit.ratio <= 1:
        raise UsageError(f"{where}.ratio must be more than 1, as 1.2 for 20 % up or down, not {limit.ratio:g}.")


def _number(value: object, where: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise UsageError(f"{where} must be a finite number of at least 0, not {value!r:.60}.")
    return number


def _patterns(value: object, where: str) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, Sequence) or not all(isinstance(item, str) and item for item in items):
        raise UsageError(f'{where} must be patterns of block names, as in ["blocks.1*"], not {value!r:.60}.')
    return tuple(items)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise UsageError(f"{where} must be a text, not {value!r:.60}.")
    return value
