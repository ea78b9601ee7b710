"""``hf:NAME``: a model of transformers, made from its configuration with random weights; nothing is downloaded."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sppkit import registry
from sppkit.errors import DoesNotFitError, UsageError
from sppkit.machine.user_code import failed
from sppkit.models.loading.factory import call_factory
from sppkit.models.loading.optional import broken, import_optional
from sppkit.models.memory import available_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import nn

    from sppkit.models.loading.reference import Reference


def transformers_factory(reference: Reference, kw: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """Return what makes a model of transformers."""
    transformers = import_optional("transformers", reference.text)
    configure = _configuration(transformers, reference)
    if kw:
        _check_fields(configure({}), kw, reference)

    def make() -> nn.Module:
        # Code that a folder brings along is not run.
        arguments = {"config": _without_downloads(configure(kw)), "trust_remote_code": False}
        return call_factory(_auto_model(transformers, arguments, reference), arguments, reference.text)

    return make


def _without_downloads(config: Any) -> Any:
    # Detectors and their kin fetch the weights of the network that they stand on, unless told otherwise.
    if getattr(config, "use_pretrained_backbone", False):
        config.use_pretrained_backbone = False
    return config


def _auto_model(transformers: Any, arguments: Mapping[str, Any], reference: Reference) -> Callable[..., object]:
    try:
        make: Callable[..., object] = transformers.AutoModel.from_config
        with torch.device("meta"):
            outline = make(**arguments)
    except ModuleNotFoundError as error:  # its modules are imported when they are used
        raise UsageError(broken("transformers", reference.text, error)) from error
    except Exception:  # noqa: BLE001 - not every network can be laid out without memory
        return make
    _check_fits(outline, reference)
    return make


def _check_fits(outline: Any, reference: Reference) -> None:
    # Default configurations are those of published models, of which some have billions of weights.
    needed, free = sum(item.nbytes for item in outline.parameters()), available_bytes()
    if needed > free:
        raise DoesNotFitError(
            f"{reference.text} needs {needed / 2**30:.1f} GiB for its weights, and {free / 2**30:.1f} GiB are free.\n"
            "Make it smaller, for instance with --kw num_hidden_layers=2"
        )


def _configuration(transformers: Any, reference: Reference) -> Callable[[Mapping[str, Any]], Any]:
    auto, place = transformers.AutoConfig, reference.place
    if Path(place).is_dir() and not (Path(place) / "config.json").is_file():
        raise UsageError(f"{reference.text}: the folder {place} has no config.json, which says what network to make.")
    if Path(place).is_dir():
        return lambda kw: _explained(
            reference, lambda: auto.from_pretrained(place, local_files_only=True, trust_remote_code=False, **kw)
        )
    types = list(transformers.CONFIG_MAPPING)
    if place not in types:
        _refuse_type(place, types)
    return lambda kw: _explained(reference, lambda: auto.for_model(place, **kw))


def _explained(reference: Reference, configure: Callable[[], Any]) -> Any:
    try:
        return configure()
    except Exception as error:  # whatever a configuration raises on its values
        raise failed(reference.text, "can't be configured", error) from error


def _refuse_type(place: str, types: Iterable[str]) -> None:
    # The name of a published model, as bert-base-uncased, begins with its type.
    name = place.rpartition("/")[2].lower()
    begins = max((kind for kind in types if name.startswith(kind)), key=len, default="")
    close = [begins] if begins else difflib.get_close_matches(name, types, n=1)
    match = f"; did you mean hf:{close[0]}?" if close else "."
    raise UsageError(
        f"hf:{place} is neither a model type of transformers nor a local folder with a config.json{match}\n"
        "Nothing is downloaded: give a type (bert, gpt2, vit, ...) and --kw for what differs, or such a folder."
    )


def _check_fields(config: Any, kw: Mapping[str, Any], reference: Reference) -> None:
    # A configuration takes any name without a word, also a misspelt one.
    for key in kw:
        if not hasattr(config, key):
            registry.check_name(f"field of the configuration of {reference.text}:", key, config.to_dict())
