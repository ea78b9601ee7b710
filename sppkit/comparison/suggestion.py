"""Trying the remedies on a network: which are legal for it, what they do, and what to type."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sppkit.comparison.lineup import Member, resolve_meaningful
from sppkit.comparison.remedies import REMEDIES
from sppkit.comparison.score import score_table
from sppkit.config.options import RunConfig, options
from sppkit.config.parsers import flag_of
from sppkit.config.resolve import load_toml, resolve_config
from sppkit.diagnosis.diagnose import diagnose
from sppkit.diagnosis.examine import is_fault
from sppkit.errors import UsageError
from sppkit.measuring.titles import file_stem
from sppkit.models.spec import build_spec
from sppkit.record.table import STATISTIC_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sppkit.comparison.remedies import Remedy
    from sppkit.comparison.runs import Measured
    from sppkit.comparison.score import Score
    from sppkit.config.resolve import Resolved

AS_IT_IS = "as it is"
_OUTPUT = ("out", "name", "format")


@dataclass(frozen=True)
class Trial:
    """A remedy to be tried: the network with it, and what it changed."""

    remedy: Remedy
    member: Member
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """A network with its score; the network as it is has no trial."""

    run: Measured
    score: Score
    trial: Trial | None = None

    @cached_property
    def is_healthy(self) -> bool:
        """Whether the diagnosis finds no fault."""
        return not any(map(is_fault, diagnose(self.run.table, self.run.record)))


def is_own(flags: Mapping[str, object], file: Path | None = None) -> bool:
    """Return whether the network is the user's own, which has none of a named architecture's options to change."""
    shared = {**(load_toml(file) if file else {}), **flags}
    return "model" in shared and "arch" not in flags


def untreated(flags: Mapping[str, object], file: Path | None = None) -> Member:
    """Return the network that remedies are tried on."""
    resolved = resolve_config({name: value for name, value in flags.items() if name != "name"}, file, ignored={"name"})
    build_spec(resolved.config.arch, resolved.given())
    missing = [name for name in STATISTIC_COLUMNS if name not in resolved.config.stats]
    if missing:
        raise UsageError(f"suggest judges by {missing[0]} too: leave out --stats, or name it there.")
    return Member(AS_IT_IS, file_stem(resolved), resolved)


def iter_trials(flags: Mapping[str, object], file: Path | None = None) -> Iterator[Trial]:
    """Yield the network with each remedy that is legal for it and changes it."""
    base = _resolved(untreated(flags, file))
    known = [build_spec(base.config.arch, base.given())]
    for remedy in REMEDIES:
        changes = remedy.changes(known[0])
        if changes is None:
            continue
        resolved = _treat(flags, file, {"arch": base.config.arch, **changes})
        if resolved is None:
            continue
        spec = build_spec(resolved.config.arch, resolved.given())
        if spec not in known:
            known.append(spec)
            changed = tuple(sorted(_changed(base, resolved)))
            yield Trial(remedy, Member(remedy.name, file_stem(resolved), resolved), changed)


def judge(run: Measured, trial: Trial | None = None) -> Outcome:
    """Return what was measured with its score."""
    return Outcome(run, score_table(run.table), trial)


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return outcomes with the healthiest signal first; equal ones in the given order."""
    return sorted(outcomes, key=lambda outcome: outcome.score.total)


def best(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return the remedy to advise."""
    for outcome in ranked(outcomes):
        if outcome.trial is None:
            return None
        if outcome.trial.remedy.recommended:
            return outcome
    return None


def command(member: Member) -> str:
    """Return what to type to plot a network.

    >>> command(untreated({"arch": "nf-resnet", "depth": "50", "se": True}))
    'sppkit plot --arch nf-resnet --depth 50 --se'
    """
    resolved = _resolved(member)
    values = {"arch": resolved.config.arch}
    values |= {name: getattr(resolved.config, name) for name in options(RunConfig)
               if resolved.sources[name] != "default" and name not in {*_OUTPUT, "arch"}}  # fmt: skip
    return " ".join(["sppkit plot", *(_typed(name, value) for name, value in values.items())])


def changes_typed(trial: Trial) -> str:
    """Return what a remedy changes, as flags."""
    resolved = _resolved(trial.member)
    given = [_typed(name, getattr(resolved.config, name)) for name in trial.changed
             if resolved.sources[name] != "default"]  # fmt: skip
    without = [flag_of(name) for name in trial.changed if resolved.sources[name] == "default"]
    return " ".join(given) + (f"{' ' if given else ''}(without {', '.join(without)})" if without else "")


def _treat(flags: Mapping[str, object], file: Path | None, changes: Mapping[str, object]) -> Resolved | None:
    own = {name: value for name, value in changes.items() if value is not None}
    try:
        resolved, _ = resolve_meaningful(own, flags, file, {"name", *changes})
    except UsageError:  # not legal together with the network's other options
        return None
    return resolved


def _changed(base: Resolved, resolved: Resolved) -> Iterator[str]:
    for name in options(RunConfig):
        if name not in _OUTPUT and getattr(base.config, name) != getattr(resolved.config, name):
            yield name


def _typed(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag_of(name) if value else f"--no-{flag_of(name)[2:]}"
    items = value if isinstance(value, tuple) else (value,)
    # The shortest text that is read as the same number.
    written = ",".join(str(item).removesuffix(".0") if isinstance(item, float) else str(item) for item in items)
    return f"{flag_of(name)} {shlex.quote(written)}"


def _resolved(member: Member) -> Resolved:
    if member.resolved is None:
        raise UsageError(f"{member.label} is a saved run, and can't be changed.")
    return member.resolved
