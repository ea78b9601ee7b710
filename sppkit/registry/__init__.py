"""Every name a user can type, and where its implementation lives.

Plain dicts from a name to an import string, a line of help and what must be known without the implementation: listing,
shell completion, the closest match to a misspelt name and reading a table need no torch. A new normalizer, activation,
weight parametrization or statistic is one new file and one new line in the dict of its kind.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any, TypeAlias

from sppkit.errors import UsageError
from sppkit.registry.activations import ACTIVATIONS as ACTIVATIONS
from sppkit.registry.entries import ActivationEntry, Entry, NormalizerEntry, ShiftEntry, StatisticEntry, WeightEntry
from sppkit.registry.normalizers import NORMALIZERS as NORMALIZERS
from sppkit.registry.shifts import SHIFT_ALIASES as SHIFT_ALIASES
from sppkit.registry.shifts import SHIFTS as SHIFTS
from sppkit.registry.statistics import DEFAULT_STATISTICS as DEFAULT_STATISTICS
from sppkit.registry.statistics import FURTHER_STATISTICS as FURTHER_STATISTICS
from sppkit.registry.statistics import GRADIENT_STATISTICS as GRADIENT_STATISTICS
from sppkit.registry.statistics import HEALTH_STATISTICS as HEALTH_STATISTICS
from sppkit.registry.statistics import STATISTIC_GROUPS as STATISTIC_GROUPS
from sppkit.registry.statistics import STATISTICS as STATISTICS
from sppkit.registry.statistics import TRAINING_STATISTICS as TRAINING_STATISTICS
from sppkit.registry.weights import WEIGHTS as WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

AnyEntry: TypeAlias = Entry | NormalizerEntry | WeightEntry | ActivationEntry | StatisticEntry | ShiftEntry

# An error message shows so much of a name.
_SHOWN = 60
# So many names can still be read at a glance; all the models of a library can't.
_MOST_LISTED = 40

_FAMILY = "sppkit.models.architecture"
ARCHITECTURES: dict[str, Entry] = {
    "bn-relu-conv": Entry(
        f"{_FAMILY}:BN_RELU_CONV",
        "pre-activation ResNet in its usual order: BatchNorm, ReLU, convolution",
    ),
    "relu-bn-conv": Entry(
        f"{_FAMILY}:RELU_BN_CONV",
        "ReLU before BatchNorm: the branch's input has zero mean, so no mean shift",
    ),
    "nf-resnet": Entry(f"{_FAMILY}:NF_RESNET", "Normalizer-Free ResNet: alpha, beta and scaled weight standardization"),
    "nf-regnet": Entry(
        f"{_FAMILY}:NF_REGNET",
        "Normalizer-Free RegNet B0 to B8 (--variant): grouped, gates inside the branch",
    ),
    "he-resnet": Entry(f"{_FAMILY}:HE_RESNET", "bn-relu-conv with its normalizer removed: the variance explodes"),
    "skipinit": Entry(
        f"{_FAMILY}:SKIPINIT",
        "he-resnet whose branches start silent, after a gain of 0 (De & Smith 2020)",
    ),
    "fixup": Entry(
        f"{_FAMILY}:FIXUP",
        "he-resnet with smaller weights in the branches and 0 at their end (Zhang et al. 2019)",
    ),
}

ADD_ONS: dict[str, Entry] = {
    # In the order in which they run where they share a position.
    "crossnorm": Entry(
        "sppkit.models.addons.crossnorm:crossnorm", "samples swap the mean and deviation of their channels (train mode)"
    ),
    "selfnorm": Entry(
        "sppkit.models.addons.selfnorm:selfnorm", "a gate per channel and sample, from its mean and deviation"
    ),
}

KINDS: dict[str, Mapping[str, AnyEntry]] = {
    "architecture": ARCHITECTURES,
    "normalizer": NORMALIZERS,
    "add-on": ADD_ONS,
    "weight parametrization": WEIGHTS,
    "activation": ACTIVATIONS,
    "statistic": STATISTICS,
    "shift": SHIFTS,
    "nuisance": {name: entry for name, entry in SHIFTS.items() if entry.nuisance},
}


def resolve(kind: str, name: str) -> Any:
    """Import what a name stands for."""
    return load(KINDS[kind][check_name(kind, name, KINDS[kind])].target)


def load(target: str) -> Any:
    """Import what ``package.module:attribute`` stands for."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def normalizer_facts(name: str) -> NormalizerEntry:
    """Return what is known of a normalizer; of an unregistered name, as in a table of another version, nothing.

    >>> normalizer_facts("gn").removes, normalizer_facts("of-tomorrow").removes
    ('several', None)
    """
    return NORMALIZERS.get(name, NormalizerEntry("", ""))


def weight_facts(name: str) -> WeightEntry:
    """Return what is known of a weight parametrization; of an unregistered name, nothing."""
    return WEIGHTS.get(name, WeightEntry("", ""))


def activation_facts(name: object) -> ActivationEntry:
    """Return what is known of an activation; of a function, or a name that is not registered, nothing."""
    return ACTIVATIONS.get(name, ActivationEntry("", "")) if isinstance(name, str) else ActivationEntry("", "")


def check_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return ``name`` if it is known.

    >>> check_name("architecture", "nf-resnt", ARCHITECTURES)
    Traceback (most recent call last):
    sppkit.errors.UsageError: unknown architecture 'nf-resnt'; did you mean 'nf-resnet'?
    Known: bn-relu-conv, fixup, he-resnet, nf-regnet, nf-resnet, relu-bn-conv, skipinit.
    """
    names = sorted(known)
    if name in names:
        return name
    # Spelling with dashes or underscores should not hide a match; half of the letters must fit ("bm" finds "bn").
    spelled = {known_name.replace("_", "-"): known_name for known_name in names}
    # No name is as long as what an error message shows of it.
    typed = str(name)[:_SHOWN]
    close = difflib.get_close_matches(typed.lower().replace("_", "-"), spelled, n=1, cutoff=0.5)
    match = f"; did you mean {spelled[close[0]]!r}?" if close else "."
    listed = ", ".join(names) if len(names) <= _MOST_LISTED else f"{len(names)} names"
    raise UsageError(f"unknown {kind} {typed!r}{match}\nKnown: {listed}.")
