"""The weights of two runs of one seed, told by their digests: equal, scaled, shifted, of another scale, drawn anew.

A digest is ``count mean std first middle last`` (``sppkit.measuring.digest_weights``), or ``count value`` of a tensor
that holds one value. Draws w that a factor or a summand has changed, w' = s w + t, keep that law in each of their
values; draws made anew do not. Those are of the same distribution where mean and standard deviation are within what so
many values have by chance: only then may chance explain what differs in the signal.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sppkit.record.read import counts_at, mapping_at, text_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Relation = Literal["equal", "changed", "redrawn"]
# Digests have nine digits, and sums in another order differ in the sixteenth, of a mean much smaller than the values.
_EQUAL = 1e-6
# float32 rounds the scaled values to 6e-8 of themselves; a draw made anew meets this thrice once in 1e14.
_AFFINE = 1e-5
# With fewer values an affine law can always be found, or nearly so.
_FEWEST = 16
# Standard errors between moments of draws of one distribution: passed by chance once in 1e9, and there are thousands.
_DEVIATIONS = 6.0
# The logarithm of the standard deviation of n values varies by (kurtosis - 1) / (4 n): 1/2 for normal values, and not
# above 2 up to a kurtosis of 9.
_KURTOSIS = 2.0


class Digest(NamedTuple):
    """What is known of a tensor."""

    size: int
    mean: float
    std: float
    values: tuple[float, ...]


class Change(NamedTuple):
    """What became of one tensor from the base to the new run, over all seeds."""

    relation: Relation
    words: str


@dataclass(frozen=True)
class Weights:
    """What became of every tensor.

    Attributes:
        names: Of the new run's tensors, in the network's order.
        changed: By name, what is known to have changed, in words: not by chance.
        redrawn: Names of those drawn anew from the same distribution.
        added: Names that the base has not.
        removed: Names that the new run has not.
    """

    names: tuple[str, ...]
    changed: Mapping[str, str]
    redrawn: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def are_equal(self) -> bool:
        """Whether the base has the same tensors, perhaps under other names."""
        return not (self.changed or self.redrawn or self.added or self.removed)


def are_keyed(new: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Return whether both runs drew the weights of a named architecture from one set of keyed streams."""
    named = all(text_at(record, "arch") and mapping_at(record, "network") for record in (new, base))
    return named and text_at(new, "random_stream") == text_at(base, "random_stream") != ""


def compare_weights(new: Mapping[str, Any], base: Mapping[str, Any], seeds: Sequence[int]) -> Weights | None:
    """Compare what two records say of weights."""
    sides = [_digests(record, seeds) for record in (new, base)]
    if not all(sides) or not seeds:
        return None
    here, there = sides
    changes = {name: _compare(here[name], there[name]) for name in here if name in there}
    added, removed, moved = _match_rest(here, there)
    changes |= moved
    return Weights(
        names=tuple(here),
        changed={name: change.words for name, change in changes.items() if change.relation == "changed"},
        redrawn=tuple(name for name in here if name in changes and changes[name].relation == "redrawn"),
        added=added,
        removed=removed,
    )


def _match_rest(
    here: Mapping[str, Sequence[Digest]], there: Mapping[str, Sequence[Digest]]
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, Change]]:
    """Find tensors that have another name: the same values first, then as many values of the same distribution."""
    added, left = [], {name: found for name, found in there.items() if name not in here}
    moved: dict[str, Change] = {}
    by_values, by_count = defaultdict(list), defaultdict(list)
    for name, found in left.items():
        by_values[_key(found)].append(name)
        by_count[found[0].size].append(name)
    rest = [name for name in here if name not in there]
    for name in list(rest):
        if by_values[_key(here[name])]:
            del left[by_values[_key(here[name])].pop(0)]
            rest.remove(name)
    for name in rest:
        alike = [other for other in by_count[here[name][0].size] if other in left]
        change = _compare(here[name], left[alike[0]]) if alike else Change("changed", "")
        if change.relation == "redrawn":
            moved[name] = change
            del left[alike[0]]
        else:
            added.append(name)
    return tuple(added), tuple(left), moved


def _key(found: Sequence[Digest]) -> tuple[Any, ...]:
    # The values themselves are exact, their mean is not.
    return tuple((digest.size, digest.values) for digest in found)


def _compare(new: Sequence[Digest], base: Sequence[Digest]) -> Change:
    if all(map(_is_equal, new, base)):
        return Change("equal", "")
    if new[0].size != base[0].size:
        return Change("changed", f"has {new[0].size} values, and {base[0].size} in the baseline")
    words = _affine_words(new, base) or _constant_words(new, base) or _moment_words(new, base)
    return Change("changed", words) if words else Change("redrawn", "")


def _is_equal(new: Digest, base: Digest) -> bool:
    if new.size != base.size or len(new.values) != len(base.values):
        return False
    close = _EQUAL * max(math.hypot(base.mean, base.std), math.hypot(new.mean, new.std))
    pairs = zip((new.mean, new.std, *new.values), (base.mean, base.std, *base.values), strict=True)
    return all(abs(a - b) <= close for a, b in pairs)


def _affine_words(new: Sequence[Digest], base: Sequence[Digest]) -> str:
    laws = [_affine(*pair) for pair in zip(new, base, strict=True)]
    known = [law for law in laws if law is not None]
    if len(known) < len(laws):
        return ""
    factors, shifts = zip(*known, strict=True)
    words = []
    if any(abs(factor - 1) > _AFFINE for factor in factors):
        words.append(f"{_told(factors)} times the baseline's")
    deviations = [shift / digest.std for shift, digest in zip(shifts, base, strict=True)]
    if any(abs(deviation) > _AFFINE for deviation in deviations):
        words.append(f"shifted by {_told(deviations)} standard deviations")
    return "is " + ", ".join(words) if words else ""


def _affine(new: Digest, base: Digest) -> tuple[float, float] | None:
    """Return s and t where w' = s w + t holds for every value that is known; None where it does not."""
    if min(new.size, base.size) < _FEWEST or new.std <= 0 or base.std <= 0 or len(new.values) != len(base.values):
        return None
    for factor in (new.std / base.std, -new.std / base.std):
        shift = new.mean - factor * base.mean
        off = [abs(a - factor * b - shift) for a, b in zip(new.values, base.values, strict=True)]
        if max(off) <= _AFFINE * (new.std + abs(new.mean)):
            return factor, shift
    return None


def _constant_words(new: Sequence[Digest], base: Sequence[Digest]) -> str:
    constant = [all(digest.std == 0 for digest in side) for side in (new, base)]
    if all(constant):
        return f"is {_told([item.mean for item in new])}, and {_told([item.mean for item in base])} in the baseline"
    if constant[0]:
        return f"is {_told([item.mean for item in new])} throughout, and was drawn in the baseline"
    return f"is drawn, and {_told([item.mean for item in base])} in the baseline" if constant[1] else ""


def _moment_words(new: Sequence[Digest], base: Sequence[Digest]) -> str:
    """Say by what draws made anew differ beyond chance."""
    seeds, count = len(new), new[0].size
    logs = [[math.log(digest.std) if digest.std > 0 else 0.0 for digest in side] for side in (new, base)]
    theory = math.sqrt(2 * _KURTOSIS / (count * seeds))
    off = _average(logs[0]) - _average(logs[1])
    if abs(off) > _DEVIATIONS * max(theory, *(_standard_error(side) for side in logs)):
        return f"is drawn anew, with {math.exp(off):.3g} times the baseline's standard deviation"
    means = [[digest.mean for digest in side] for side in (new, base)]
    std = _average([digest.std for digest in (*new, *base)])
    error = max(std * math.sqrt(2 / (count * seeds)), *(_standard_error(side) for side in means))
    off = _average(means[0]) - _average(means[1])
    if std > 0 and abs(off) > _DEVIATIONS * error:
        return f"is drawn anew, with a mean of {_average(means[0]):.3g} ({_average(means[1]):.3g} in the baseline)"
    return ""


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _standard_error(values: Sequence[float]) -> float:
    # Of the difference of two such averages. A gain that is drawn, too, makes seeds scatter more than n values do.
    if len(values) < 2:
        return 0.0
    middle = _average(values)
    return math.sqrt(2 * sum((value - middle) ** 2 for value in values) / (len(values) - 1) / len(values))


def _told(values: Iterable[float]) -> str:
    low, high = min(values := list(values)), max(values)
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def _digests(record: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, list[Digest]]:
    found, measured = mapping_at(record, "weights"), counts_at(record, "seeds")
    if not set(seeds) <= set(measured):
        return {}
    places = [measured.index(seed) for seed in seeds]
    return {
        name: digests
        for name, texts in found.items()
        if (digests := _at_seeds(texts, places, len(measured))) and name.isprintable()
    }


def _at_seeds(texts: object, places: Sequence[int], seeds: int) -> list[Digest]:
    if not isinstance(texts, list) or len(texts) not in {1, seeds}:
        return []
    chosen = [_parse(texts[place if len(texts) > 1 else 0]) for place in places]
    return [digest for digest in chosen if digest is not None] if None not in chosen else []


def _parse(text: object) -> Digest | None:
    # A record may be anyone's: what makes no sense is no digest.
    try:
        count, *numbers = str(text).split()
        values = [float(number) for number in numbers]
        size = int(count)
    except ValueError:
        return None
    if size < 1 or len(values) not in {1, 4, 5} or not all(map(math.isfinite, values)):
        return None
    if len(values) == 1:
        return Digest(size, values[0], 0.0, (values[0],))
    return Digest(size, values[0], abs(values[1]), tuple(values[2:]))
