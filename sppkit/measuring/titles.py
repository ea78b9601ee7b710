"""What a run is called: in file names, titles and subtitles."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from sppkit.config.options import ModelOptions, RunConfig, options
from sppkit.models.layout import PUBLISHED
from sppkit.models.loading.reference import parse_reference, safe
from sppkit.models.spec import non_default
from sppkit.record.read import counts_at, mapping_at, number_at, text_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sppkit.config.invariance import InvarianceConfig
    from sppkit.config.resolve import Resolved

_KINDS = {"gaussian": "Gaussian input", "tokens": "random tokens", "pictures": "pictures", "array": "array"}
_NUMBERS = {4: "four"}
# What is not spelled as its words are, and settings that say themselves what they are.
_SPELLED = {"add_on": "add-on"}
_SETTINGS = {"norm_kw", "add_on_kw", "enorm_kw"}
# File systems take 255 bytes, ending included.
_LONGEST_STEM = 200


def file_stem(resolved: Resolved) -> str:
    """Return the name of a run's files without their ending."""
    config = resolved.config
    if config.name is not None:
        return config.name
    parts = _own_parts(config) if config.model is not None else _named_parts(resolved)
    file = PurePath(config.checkpoint or "")
    weights = (safe("-".join([*file.parent.parts[-1:], file.stem])), config.reinit)
    return _shortened("-".join(filter(None, [*parts, *weights])))


def invariance_stem(config: InvarianceConfig) -> str:
    """Return the name of the files of a measurement of invariance without their ending; its nuisance is part of it."""
    if config.name is not None:
        return config.name
    file = PurePath(config.checkpoint or "")
    weights = safe("-".join([*file.parent.parts[-1:], file.stem]))
    # Of a function of the user's own, its name.
    nuisance = safe(PurePath(config.nuisance or "").name.replace(".py:", "-"))
    return _shortened("-".join(filter(None, [*_own_parts(config), weights, nuisance])))


def title(record: Mapping[str, Any]) -> str:
    """Return a picture's title: the network, its size, and the options that were given."""
    given = _given(record)
    keywords = mapping_at(mapping_at(record, "model"), "kw")
    further = [_worded(name, value) for name, value in keywords.items()]
    further += [_worded(name, value) for name, value in given.items() if name not in _NOT_IN_TITLE]
    return ", ".join([_sized(record, given), *filter(None, further)])


def subtitle(record: Mapping[str, Any]) -> str:
    """Return what stands below a picture's title: input, mode, type and seeds."""
    parts = [_input(mapping_at(record, "input")), _seeding(counts_at(record, "seeds"))]
    mode, dtype = text_at(record, "mode"), text_at(record, "dtype")
    parts[1:1] = [f"{mode} mode" if mode else "", dtype]
    return " · ".join(filter(None, parts))


def layout_line(record: Mapping[str, Any]) -> str:
    """Return which stages were chosen, why, and how large the network is."""
    network = mapping_at(record, "network") or mapping_at(record, "model")
    stages, source = counts_at(network, "stages"), text_at(network, "input_from")
    parts = [f"stages {', '.join(map(str, stages))} ({_origin(record, stages)})"] if stages else []
    parameters = number_at(network, "parameters")
    if parameters is not None and (parts or source):
        parts.append(f"{_scaled(parameters)} parameters")
    found = text_at(record, "found").rstrip(".")
    return " · ".join([*parts, *([f"input shape from {source}"] if source else []), *([found] if found else [])])


# Options of the run that are not part of what the network is called.
_NOT_MODEL = frozenset(options(RunConfig)) - frozenset(options(ModelOptions))
_NOT_IN_TITLE = frozenset({"depth", "stages", "variant", *_NOT_MODEL}) - {"checkpoint", "reinit"}


def _given(record: Mapping[str, Any]) -> dict[str, Any]:
    entries = mapping_at(record, "options")
    items = {name: mapping_at(entries, name) for name in entries}
    return {name: item.get("value") for name, item in items.items() if text_at(item, "source", "default") != "default"}


def _sized(record: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    spec = text_at(mapping_at(record, "model"), "spec")
    if spec:
        return spec
    arch = text_at(record, "arch", "network")
    depth, stages = number_at(given, "depth"), counts_at(mapping_at(record, "network"), "stages")
    variant = text_at(given, "variant")
    if variant:
        return f"{arch}-{variant}"
    if depth is not None:
        return f"{arch}-{depth:.0f}"
    # Behind a dash, as in a depth's place, 1-2 would read like one.
    return f"{arch}, stages {'-'.join(map(str, stages))}" if stages else arch


def _origin(record: Mapping[str, Any], stages: Sequence[int]) -> str:
    given = _given(record)
    if counts_at(given, "stages"):
        return "given"
    variant = text_at(given, "variant")
    if variant:
        return f"variant {variant}"
    block, depth = text_at(mapping_at(record, "network"), "block"), number_at(given, "depth")
    if depth is not None and PUBLISHED.get((block, int(depth))) == tuple(stages):
        return "published layout"
    return f"spread evenly over {_NUMBERS.get(len(stages), len(stages))} stages"


def _scaled(number: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:.0f}"


def _input(described: Mapping[str, Any]) -> str:
    kind = _KINDS.get(text_at(described, "kind"), "input")
    shape = "×".join(map(str, counts_at(described, "batch_shape")))
    batches = number_at(described, "batches") or 1
    shift = text_at(mapping_at(described, "shift"), "name")
    parts = [" ".join(filter(None, [kind, shape])), f"{batches:.0f} batches" if batches > 1 else "", shift]
    return ", ".join(filter(None, parts))


def _seeding(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"{len(seeds)} seeds" if seeds else ""


def _own_parts(config: RunConfig) -> list[str]:
    own = parse_reference(config.model or "").stem
    given = ((key.replace("_", "-"), value) for key, value in (config.kw or {}).items())
    return [own, *(f"no-{key}" if value is False else safe(_joined(key, value)) for key, value in given)]


def _named_parts(resolved: Resolved) -> list[str]:
    arch = resolved.config.arch
    given = non_default(arch, resolved.given())
    return [arch, _size(resolved), *(_joined(name.replace("_", "-"), value) for name, value in given.items())]


def _shortened(stem: str) -> str:
    if len(stem) <= _LONGEST_STEM:
        return stem
    digest = hashlib.sha256(stem.encode()).hexdigest()
    return f"{stem[:_LONGEST_STEM]}-{digest[:8]}"


def _size(resolved: Resolved) -> str:
    stages = resolved.config.stages
    if stages is None:
        return str(resolved.config.depth or resolved.config.variant)
    return "stages" + "-".join(map(str, stages))


def _joined(key: str, value: object) -> str:
    if isinstance(value, bool):
        return key
    return f"{key}{value:g}" if isinstance(value, (int, float)) else f"{key}-{value}"


def _worded(name: str, value: object) -> str:
    if name in _SETTINGS and isinstance(value, str):
        return value
    key = _SPELLED.get(name, name.replace("_", " "))
    if isinstance(value, bool):
        return key if value else f"no {key}"
    if isinstance(value, float):
        return f"{key} {value:g}"
    return f"{key} {value}" if isinstance(value, (int, str)) else ""
