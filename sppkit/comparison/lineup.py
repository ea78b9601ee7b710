"""From SPECs and shared options to the checked networks of a comparison, each with a name of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sppkit.comparison.specs import ALL, CHOICES, FORMS, Spec, iter_all, parse_spec
from sppkit.config.options import ModelOptions, RunConfig, options, parse_values
from sppkit.config.parsers import flag_of
from sppkit.config.resolve import load_toml, resolve_config
from sppkit.errors import MeaninglessOptionError, UsageError
from sppkit.measuring.titles import file_stem
from sppkit.models.spec import build_spec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sppkit.config.resolve import Resolved

# The key of a TOML file that lists SPECs.
SPECS = "specs"
# Eight colours in four kinds of line.
MOST_NETWORKS = 32
# What decides which networks there are or where the pictures go, and so nothing within one network.
_NOT_SHARED = frozenset({SPECS, "arch", "model", "name"})
# What only a network has that is none of ours.
_FOREIGN = frozenset({"kw", "reinit", "vocab"})
# Two ways of saying one thing: the nearer one replaces the other.
_TWO_WAYS = (frozenset({"depth", "stages"}), frozenset({"shape", "image_size"}))


@dataclass(frozen=True)
class Member:
    """One network of a comparison, checked.

    Attributes:
        label: What the legend calls it.
        stem: Name of its files without their ending.
        resolved: How to measure it, or None for a saved run.
        saved: The table of a saved run, or None.
        unused: Shared options that mean nothing for it.
        own: Names of its own options.
    """

    label: str
    stem: str
    resolved: Resolved | None = None
    saved: Path | None = None
    unused: frozenset[str] = frozenset()
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lineup:
    """The networks of a comparison, and what the user should know about their choice."""

    members: tuple[Member, ...]
    notes: tuple[str, ...] = ()


def line_up(
    texts: Sequence[str],
    flags: Mapping[str, object],
    file: Path | None = None,
    *,
    least: int = 2,
    ignored: frozenset[str] = frozenset(),
) -> Lineup:
    """Read and check the networks of a comparison; keys of the file that are ``ignored`` are read by someone else."""
    shared = {**(load_toml(file) if file else {}), **flags}
    specs = [parse_spec(text) for text in _texts(texts, flags, shared, file)]
    _check_shared(flags, specs)
    members: list[Member] = []
    notes: list[str] = []
    for spec in specs:
        found, left_out = _resolve_all(list(iter_all(spec, shared)), flags, file, shared, ignored)
        members += found
        notes += left_out
    _refuse_repeated(members)
    _check_count(members, least)
    return Lineup(tuple(_name(members)), (*notes, *_iter_unused(members, shared, flags)))


def _texts(
    texts: Sequence[str], flags: Mapping[str, object], shared: Mapping[str, object], file: Path | None
) -> Sequence[str]:
    network = next((name for name in ("model", "arch") if name in (flags if texts else shared)), None)
    if texts and network:
        raise UsageError(f"{flag_of(network)} means nothing beside SPECs; type it as one of them.\n{FORMS}")
    if texts:
        return texts
    listed = shared.get(SPECS)
    if listed is not None and network:
        raise UsageError(f"{file} lists networks as specs; {flag_of(network)} beside them means nothing.")
    if listed is not None:
        if not isinstance(listed, list) or not listed or not all(isinstance(item, str) and item for item in listed):
            raise UsageError(f'{file}: specs must be a list of SPECs, as in specs = ["bn-relu-conv", "nf-resnet"].')
        return listed
    if network:
        return [str(shared[network])]
    raise UsageError(
        f"which networks? {FORMS}\nTry: sppkit compare bn-relu-conv relu-bn-conv nf-resnet --depth 50 --image-size 64"
    )


def _check_shared(flags: Mapping[str, object], specs: Iterable[Spec]) -> None:
    # Said of the flag itself, not of the first network that receives it.
    parse_values(RunConfig, {name: value for name, value in flags.items() if not (name in CHOICES and value == ALL)})
    unused = sorted(flags.keys() - {"out", "name", "format"})
    if unused and all(spec.saved for spec in specs):
        raise UsageError(f"{flag_of(unused[0])} means nothing for saved runs; only --out, --name and --format do.")


def resolve_meaningful(
    own: Mapping[str, object], flags: Mapping[str, object], file: Path | None, ignored: Collection[str] = ()
) -> tuple[Resolved, frozenset[str]]:
    """Resolve a network's own options together with shared ones, and leave out what means nothing for it."""
    unused: set[str] = set()
    while True:
        skipped = {*ignored, *unused, *_said_otherwise(own)}
        given = {name: value for name, value in flags.items() if name not in skipped}
        resolved = resolve_config({**given, **own}, file, ignored=skipped)
        try:
            if resolved.config.arch:
                build_spec(resolved.config.arch, resolved.given())
        except MeaninglessOptionError as error:
            if error.option in own:
                raise
            unused.add(error.option)
        else:
            return replace(resolved, sources={**resolved.sources, **dict.fromkeys(own, "SPEC")}), frozenset(unused)


def _resolve_all(
    specs: Sequence[Spec],
    flags: Mapping[str, object],
    file: Path | None,
    shared: Mapping[str, object],
    ignored: frozenset[str],
) -> tuple[list[Member], list[str]]:
    # The networks that ``all`` stands for, and what is said of those that can't be built.
    members, refused = [], []
    for spec in specs:
        try:
            members.append(_resolve(spec, flags, file, shared, ignored))
        except UsageError as error:
            refused.append((spec.text, str(error)))
    if not members:
        raise UsageError(": ".join(refused[0]))
    return members, [f"{text} is left out: {reason}" for text, reason in refused]


def _resolve(
    spec: Spec,
    flags: Mapping[str, object],
    file: Path | None,
    shared: Mapping[str, object],
    ignored: frozenset[str],
) -> Member:
    if spec.saved:
        return Member(spec.text, spec.saved.stem, saved=spec.saved)
    plainly = _plainly_unused(spec, shared)
    resolved, unused = resolve_meaningful(spec.options, flags, file, _NOT_SHARED | plainly | ignored)
    return Member(spec.text, file_stem(resolved), resolved, unused=unused | plainly, own=tuple(spec.options))


def _plainly_unused(spec: Spec, shared: Mapping[str, object]) -> set[str]:
    if "model" in spec.options:  # it is built as it is
        return set(shared.keys() & options(ModelOptions).keys())
    every = {name for name in CHOICES if shared.get(name) == ALL and name not in {"arch", *spec.options}}
    return every | (_FOREIGN & shared.keys())


def _said_otherwise(own: Mapping[str, object]) -> set[str]:
    return {name for names in _TWO_WAYS if names & own.keys() for name in names}


def _refuse_repeated(members: Iterable[Member]) -> None:
    known: dict[object, str] = {}
    for member in members:
        label = known.setdefault(_identity(member), member.label)
        if label is not member.label:
            raise UsageError(
                f"{label} and {member.label} are the same network, measured in the same way; give it once, or with "
                "another option."
            )


def _identity(member: Member) -> object:
    if member.resolved is None:
        return member.saved and member.saved.resolve()
    config, sources = member.resolved.config, member.resolved.sources
    if not config.arch:
        return repr([(name, getattr(config, name)) for name in sources if name != "name"])
    spec = build_spec(config.arch, member.resolved.given())
    further = sources.keys() - options(ModelOptions).keys() - {"name"}
    return repr((spec, sorted((name, repr(getattr(config, name))) for name in further)))


def _check_count(members: Sequence[Member], least: int) -> None:
    if len(members) < least:
        raise UsageError(
            f"{members[0].label} is one network, and a comparison needs two or more.\n"
            "For one network: sppkit plot. For one network in all ways of an option: --norm all, --weights all, ..."
        )
    if len(members) > MOST_NETWORKS:
        raise UsageError(
            f"these are {len(members)} networks; one picture can show at most {MOST_NETWORKS}. Compare fewer at a time."
        )


def _name(members: Sequence[Member]) -> list[Member]:
    twice = _repeated(member.stem for member in members)
    named = [replace(item, stem=_longer_stem(item)) if item.stem in twice else item for item in members]
    for what, repeated in (
        ("would be written as", _repeated(item.stem for item in named if not item.saved)),
        ("would be called", _repeated(item.label for item in named)),
    ):
        if repeated:
            raise UsageError(f"two networks {what} {min(repeated)}; give one of them another name, as in SPEC:name=b.")
    return named


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _longer_stem(member: Member) -> str:
    # What the network is says the stem already; seeds, input, mode and type have to be added.
    if member.resolved is None or "name" in member.own:
        return member.stem
    config, in_stem = member.resolved.config, {"arch", "model", *options(ModelOptions)}
    further = [name for name in member.own if name not in in_stem]
    return "-".join([member.stem, *(f"{name.replace('_', '-')}-{_spelled(getattr(config, name))}" for name in further)])


def _spelled(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return "".join(letter if letter.isalnum() or letter in ".-,_" else "-" for letter in text)


def _iter_unused(members: Sequence[Member], shared: Mapping[str, object], flags: Mapping[str, object]) -> Iterator[str]:
    measured = [member for member in members if member.resolved]
    for name in shared:
        without = [member.label for member in measured if name in member.unused]
        if without and len(without) == len(measured):
            where = flag_of(name) if name in flags else name
            raise UsageError(f"{where} means nothing for any of these networks: {', '.join(without)}.")
        if without:
            yield f"{flag_of(name)} means nothing for {', '.join(without)} and is used for the others."
