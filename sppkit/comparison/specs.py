"""What a user types for one network of a comparison: ``ARCH[:key=value,...]``, ``timm:NAME`` or ``RUN.csv``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from sppkit import registry
from sppkit.config.options import ModelOptions, RunConfig, options
from sppkit.errors import MeaninglessOptionError, UsageError
from sppkit.machine.printable import as_utf8
from sppkit.models.spec import build_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMS = "A SPEC is ARCH[:key=value,...], timm:NAME, package.module:factory, path/file.py:factory or RUN.csv."
# In place of an option's name: one network for each name that the option knows.
ALL = "all"
# The options of a network, and of how it is run, that are a choice between names.
_RUN_CHOICES = {"arch", "mode", "dtype"}
CHOICES = {
    name: option.choices
    for name, option in options(RunConfig).items()
    if len(option.choices) > 1 and (name in _RUN_CHOICES or name in options(ModelOptions))
}
_OPTIONS = re.compile(r"(?P<network>.*?)(?::(?P<options>[A-Za-z][\w-]*=.*))?", re.DOTALL)
_FACTORY = re.compile(r"[\w.]+|.*\.py")
_TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True)
class Spec:
    """One network of a comparison.

    Attributes:
        text: What the user knows it by: the legend's label.
        options: Its own options as typed, names with underscores; ``arch`` or ``model`` is among them.
        saved: The table of a saved run, instead of options.
    """

    text: str
    options: dict[str, object] = field(default_factory=dict)
    saved: Path | None = None


def parse_spec(text: str) -> Spec:
    """Read a SPEC; its options' values are checked later, together with those that all networks share.

    >>> parse_spec("nf-resnet:stages=1,2,weights=none").options
    {'arch': 'nf-resnet', 'stages': '1,2', 'weights': 'none'}
    """
    if not as_utf8(text).isprintable():
        raise UsageError(f"a SPEC must be a text without control characters, not {text!r:.60}.")
    parts = re.fullmatch(_OPTIONS, text)
    network = parts["network"] if parts else ""
    own = _parse_options(text, (parts["options"] if parts else "") or "")
    label = str(own.get("name", text))
    if network.lower().endswith(".csv"):
        if own.keys() - {"name"}:
            raise UsageError(f"{text}: a saved run has its options already; only name=TEXT can be given.")
        return Spec(str(own.get("name", Path(network).stem)), saved=Path(network))
    named = _parse_network(network)
    return Spec(label, {**named, **(_with_arguments(own) if "model" in named else own)})


def _parse_network(network: str) -> dict[str, object]:
    head, colon, _ = network.partition(":")
    if network == ALL or (head in registry.ARCHITECTURES and not colon):
        return {"arch": network}
    if head in registry.ARCHITECTURES:
        raise UsageError(f"{network}: the options of a SPEC are key=value, as in {head}:width=0.5,padding=circular.")
    if colon and _FACTORY.fullmatch(network.rpartition(":")[0].rpartition(":")[2]):
        return {"model": network}
    try:
        registry.check_name("architecture", head, registry.ARCHITECTURES)
    except UsageError as error:
        raise UsageError(f"{error}\n{FORMS}") from None
    raise UsageError(f"{network!r:.60} is no network. {FORMS}")


def _parse_options(text: str, written: str) -> dict[str, object]:
    items: list[str] = []
    for item in filter(None, written.split(",")):
        # A comma may also belong to a value: stages=3,4,6,3 or norm_kw=groups=16,affine=channel.
        if "=" in item and not (items and _continues(items[-1], item)):
            items.append(item)
        else:
            items[-1] += f",{item}"
    own: dict[str, object] = {}
    for item in items:
        key, _, value = item.partition("=")
        name = _name_of(item)
        if name in {"arch", "model", "kw", "out", "format"}:
            raise UsageError(f"{text}: {key} can't be an option of a SPEC. {FORMS}")
        if name in own:
            raise UsageError(f"{text}: {key} is given twice. Keep one of the two.")
        is_flag = isinstance(getattr(RunConfig, name, None), bool)
        own[name] = _TRUTHS.get(value, value) if is_flag else value
    return own


def _continues(before: str, item: str) -> bool:
    key, _, _ = before.partition("=")
    return key.strip().endswith(("_kw", "-kw")) and _name_of(item) not in options(RunConfig)


def _name_of(item: str) -> str:
    return item.partition("=")[0].strip().replace("-", "_")


def _with_arguments(own: Mapping[str, object]) -> dict[str, object]:
    # What is no option of a run is meant for the function that builds the model: its depth, its width.
    of_a_run = options(RunConfig).keys() - options(ModelOptions).keys()
    known = {name: value for name, value in own.items() if name in of_a_run}
    arguments = [f"{name}={value}" for name, value in own.items() if name not in known]
    return {**known, **({"kw": arguments} if arguments else {})}


def iter_all(spec: Spec, shared: Mapping[str, object]) -> Iterator[Spec]:
    """Replace every ``all`` by one network for each name; several of them multiply."""
    if spec.options.get("arch") == ALL:
        for arch in CHOICES["arch"]:
            text = arch + spec.text.removeprefix(ALL) if spec.text.startswith(ALL) else f"{spec.text} {arch}"
            own = {**spec.options, "arch": arch}
            own.pop("name", None)  # one name for many networks is the label's beginning, and no file's
            yield from iter_all(replace(spec, text=text, options=own), shared)
        return
    names = [name for name in CHOICES if spec.options.get(name, shared.get(name)) == ALL and name != "arch"]
    names = [name for name in names if name in spec.options or _has_meaning(spec, name)]
    for values in product(*(CHOICES[name] for name in names)):
        yield _choose(spec, dict(zip(names, values, strict=True))) if names else spec


def _choose(spec: Spec, chosen: Mapping[str, str]) -> Spec:
    text = spec.text
    for name, value in chosen.items():
        key = name.replace("_", "-")
        if f"{key}={ALL}" in text:
            text = text.replace(f"{key}={ALL}", f"{key}={value}")
        else:
            text += f"{',' if '=' in text else ':'}{key}={value}"
    own = {name: value for name, value in spec.options.items() if name != "name"}
    return replace(spec, text=text, options={**own, **chosen})


def _has_meaning(spec: Spec, name: str) -> bool:
    if name not in options(ModelOptions):
        return True
    if "arch" not in spec.options:  # whatever else a model is, none of our architectures' options builds it
        return False
    try:
        build_spec(spec.options["arch"], {"stages": (1,), name: CHOICES[name][0]})
    except MeaninglessOptionError:
        return False
    except UsageError:
        return True
    return True
