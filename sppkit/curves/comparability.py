"""Which runs can be compared: the ones that were asked to measure the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sppkit.config.options import ModelOptions, RunConfig, options
from sppkit.machine.printable import printable, printable_values
from sppkit.record.read import counts_at, mapping_at, option_values, text_at

if TYPE_CHECKING:
    from collections.abc import Iterator

# Options that leave what is measured as it is, or that seeds and tolerances account for; a checkpoint is known by what
# it holds, not by its path. Whatever is not named here, a later version's options among them, makes another run of it.
_FREE = frozenset({
    "seed", "seeds", "batch_size", "batches", "image_size", "shape", "input", "device", "streaming", "stats", "out",
    "name", "format", "theory", "checkpoint",
})  # fmt: skip
# A run from before an option existed had its default.
_DEFAULTS = RunConfig()
_KNOWN, _MODEL = frozenset(options(RunConfig)), frozenset(options(ModelOptions))
_SIZE = frozenset({"parameters", "blocks"})
# A value is shown with as many letters; of what comes before the first that differs, so many.
_SHOWN, _BEFORE = 60, 10


def iter_incomparable(new: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[str]:
    """Yield what makes two runs different questions."""
    for name in ("arch", "mode", "dtype"):
        yield from _iter_unlike(name, text_at(new, name), text_at(base, name))
    inputs = mapping_at(new, "input"), mapping_at(base, "input")
    yield from _iter_unlike("kind of input", *(text_at(item, "kind") for item in inputs))
    yield from _iter_unlike("shape of a sample", *(_sample(item) for item in inputs))
    yield from _iter_unlike_network(mapping_at(new, "network"), mapping_at(base, "network"))
    yield from _iter_unlike_options(option_values(new), option_values(base), known=bool(new.get("network")))
    yield from _iter_unlike("checkpoint", *(_fingerprint(record) for record in (new, base)))


def iter_notices(new: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs between two runs that can be compared all the same."""
    shapes = [counts_at(mapping_at(record, "input"), "batch_shape")[:1] for record in (new, base)]
    yield from _iter_unlike("batch size", *(str(shape[0]) if shape else "" for shape in shapes))
    yield from _iter_unlike("seeds", *(_listed(counts_at(record, "seeds")) for record in (new, base)))
    yield from _iter_unlike("device", *(text_at(record, "device") for record in (new, base)))
    for name in ("torch", "sppkit"):
        yield from _iter_unlike(name, *(text_at(mapping_at(record, "versions"), name) for record in (new, base)))
    yield from _iter_unlike("random stream", *(text_at(record, "random_stream") for record in (new, base)))


def _iter_unlike_network(new: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(new.keys() & base.keys() - _SIZE):
        yield from _iter_unlike_values(name.replace("_", " "), new[name], base[name])


def _iter_unlike_options(new: Mapping[str, Any], base: Mapping[str, Any], *, known: bool) -> Iterator[str]:
    # A described network says more than the options it came from: depth 50 is stages 3,4,6,3.
    free = _FREE | {"arch", "mode", "dtype"} | (_MODEL if known else frozenset())
    asked = (new.keys() & base.keys()) | (_KNOWN & (new.keys() | base.keys()))
    for name in sorted(asked - free if new and base else ()):
        default = getattr(_DEFAULTS, name, None)
        flag = f"--{name.replace('_', '-')}"
        yield from _iter_unlike_values(flag, new.get(name, default), base.get(name, default))


def _iter_unlike(name: str, new: str, base: str) -> Iterator[str]:
    if new and base:
        yield from _iter_unlike_values(name, new, base)


def _iter_unlike_values(name: str, new: object, base: object) -> Iterator[str]:
    if isinstance(new, Mapping) and isinstance(base, Mapping):
        for key in sorted(new.keys() | base.keys(), key=str):
            yield from _iter_unlike_values(f"{name} {_told(key)}", new.get(key), base.get(key))
    elif not _is_same(*map(printable_values, (new, base))):
        told = _told(new), _told(base)
        start = next(
            (at for at, pair in enumerate(zip(*told, strict=False)) if pair[0] != pair[1]), min(map(len, told))
        )
        yield f"{name}: {_shorten(told[0], start)} here, {_shorten(told[1], start)} in the baseline"


def _is_same(new: Any, base: Any) -> bool:
    if isinstance(new, list) and isinstance(base, list):
        return len(new) == len(base) and all(map(_is_same, new, base))
    if isinstance(new, dict) and isinstance(base, dict):
        return new.keys() == base.keys() and all(_is_same(new[key], base[key]) for key in new)
    # A file does not tell 1 from 1.0, and true is neither.
    return isinstance(new, bool) == isinstance(base, bool) and bool(new == base)


def _fingerprint(record: Mapping[str, Any]) -> str:
    found = text_at(mapping_at(record, "checkpoint"), "sha256")[:12]
    given = option_values(record)
    # A baseline from before the fingerprint was kept, or without options, does not say.
    return found or ("none" if given and given.get("checkpoint") is None else "")


def _sample(described: Mapping[str, Any]) -> str:
    return "×".join(map(str, counts_at(described, "batch_shape")[1:]))


def _listed(seeds: list[int]) -> str:
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _told(value: object) -> str:
    return printable(value if isinstance(value, str) else repr(value))


def _shorten(text: str, start: int) -> str:
    """Return a part of a text in which its first letter that matters is seen."""
    if start < _SHOWN:
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    part = text[start - _BEFORE : start - _BEFORE + _SHOWN]
    return f"...{part}" + ("..." if start - _BEFORE + _SHOWN < len(text) else "")
