"""The input that a network tells of itself, and what the user says of it instead."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from torch import nn

from sppkit.config.parsers import split_shape
from sppkit.errors import UsageError
from sppkit.models.loading.form import InputForm
from sppkit.models.loading.transformers_form import transformers_form
from sppkit.registry import check_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sppkit.config.options import RunConfig

_ASK = "say it: --shape 3,224,224 (channels first), or --input tokens --vocab N --shape 128 for a language model."
_IMAGE_AXES = 3
_COLLECT = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_SEQUENTIAL = (nn.MultiheadAttention, nn.RNNBase)
_TAKES_INPUT = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.Embedding)


def infer_form(model: nn.Module, *, image_size: int) -> InputForm:
    """Find out what a network takes.

    In this order: the configuration that timm's models carry, that of transformers, and the first module that says how
    many channels, features or tokens it takes, in the order in which the network holds its modules.
    """
    form = _timm_form(model) or transformers_form(model)
    if form is not None:
        return form
    named = ((name, module) for name, module in model.named_modules() if isinstance(module, _TAKES_INPUT))
    name, module = next(named, ("", None))
    origin = f"what its first layer takes ({name or type(module).__name__})"
    if isinstance(module, nn.Conv2d):
        return InputForm((module.in_channels, image_size, image_size), origin)
    # Of a sequence its features alone would be told.
    if isinstance(module, nn.Linear) and not any(isinstance(item, _SEQUENTIAL) for item in model.modules()):
        return InputForm((module.in_features,), origin)
    if isinstance(module, nn.Embedding):
        return InputForm(None, origin, vocab=module.num_embeddings)
    return InputForm(None, origin)


def choose_form(told: InputForm, config: RunConfig, given: Collection[str], name: str) -> InputForm:
    """Let the user's options decide where they say something, and check that nothing is left open."""
    if isinstance(config.shape, dict):
        return _form_by_name(config.shape, config)
    form = replace(told, vocab=_choose_vocab(told, config, given, name))
    if (form.vocab is None) != (told.vocab is None):  # what is told is another kind of input
        form = replace(form, shape=None)
    if config.shape is not None:
        return replace(form, shape=config.shape, origin="--shape")
    if form.vocab is not None and not _is_drawn(config):
        return replace(form, shape=(), origin=config.input)
    if "image_size" in given:
        return _resized(form, config.image_size, name)
    if form.shape is None and form.vocab is not None:
        raise UsageError(f"how many tokens {name} takes in a sequence can't be told from it: say --shape 128")
    if form.shape is None:
        raise UsageError(f"the shape of one sample for {name} can't be told from it;\n{_ASK}")
    return form


def _form_by_name(shapes: Mapping[str, str], config: RunConfig) -> InputForm:
    for option, value in (("input", config.input if config.input != "gaussian" else None), ("vocab", config.vocab)):
        if value is not None:
            raise UsageError(
                f"--{option} means nothing beside shapes by name: NAME=SHAPE is noise, NAME=SHAPE:VOCAB is tokens."
            )
    first, *others = (InputForm(shape, "--shape", vocab, name) for name, (shape, vocab) in _iter_shapes(shapes))
    return replace(first, others=tuple(others))


def _iter_shapes(shapes: Mapping[str, str]) -> Iterator[tuple[str, tuple[tuple[int, ...], int | None]]]:
    return ((name, split_shape(text)) for name, text in shapes.items())


def check_arguments(model: nn.Module, form: InputForm, name: str) -> None:
    """Refuse the names of arguments that a network's forward pass does not take, and ask for those that it needs."""
    try:
        known = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):  # compiled code may have none
        return
    given = [argument.keyword for argument in (form, *form.others) if argument.keyword is not None]
    if form.origin == "--shape" and not any(item.kind is item.VAR_KEYWORD for item in known.values()):
        for keyword in given:
            check_name(f"argument of {name}'s forward pass:", keyword, known)
    needed = [key for key, item in known.items() if item.default is item.empty and item.kind not in _COLLECT]
    if len(needed) > max(len(given), 1) or (given and not set(needed) <= set(given)):
        shown = " ".join(f"--shape {key}=3,32,32" for key in needed)
        raise UsageError(
            f"{name}'s forward pass needs {', '.join(needed)}: give each by name, as in {shown}\n"
            "(or --shape NAME=16:1000 where it takes tokens, here 16 of 1000)."
        )


def _choose_vocab(told: InputForm, config: RunConfig, given: Collection[str], name: str) -> int | None:
    if not _is_drawn(config):
        return config.vocab or told.vocab  # if what is in the file is tokens
    if config.input == "tokens":
        vocab = config.vocab or told.vocab
        if vocab is None:
            raise UsageError(f"how many different tokens {name} knows can't be told from it: say --vocab N")
        return vocab
    if config.vocab is not None:
        raise UsageError("--vocab is the number of different tokens; it belongs to --input tokens.")
    if told.vocab is None or "input" not in given:
        return told.vocab
    if told.keyword is None:  # a guess, and the user knows better
        return None
    raise UsageError(f"{name} takes tokens, not --input {config.input}; leave --input out, or type --input tokens.")


def _is_drawn(config: RunConfig) -> bool:
    return config.input in {"gaussian", "tokens"}


def _resized(form: InputForm, side: int, name: str) -> InputForm:
    if form.shape is None or len(form.shape) < _IMAGE_AXES:
        raise UsageError(f"--image-size is for pictures, and {name} does not take them;\n{_ASK}")
    return replace(form, shape=(*form.shape[:-2], side, side), origin=f"{form.origin} and --image-size")


def _timm_form(model: nn.Module) -> InputForm | None:
    config: Any = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    size = _field(config, "input_size")
    if not _is_shape(size):
        return None
    channels, *sides = size
    # Arguments of the model may have changed what its configuration says.
    channels = getattr(_submodule(model, _field(config, "first_conv")), "in_channels", channels)
    patched = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return InputForm((channels, *(patched if _is_shape(patched) else sides)), "timm's configuration of the model")


def _field(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def _is_shape(value: object) -> TypeGuard[Sequence[int]]:
    return isinstance(value, (tuple, list)) and len(value) > 0 and all(isinstance(item, int) for item in value)


def _submodule(model: nn.Module, path: object) -> nn.Module | None:
    first = path[0] if isinstance(path, (tuple, list)) and path else path
    return dict(model.named_modules()).get(first) if isinstance(first, str) else None
