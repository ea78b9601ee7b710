"""Giving a network the weights of a checkpoint: every one of them, or none."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import torch

from sppkit.errors import UsageError
from sppkit.machine.error_text import short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from sppkit.models.loading.checkpoint import Checkpoint

# What torch puts into the names of a network that is compiled, sharded, or recomputes its activations.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# As many names as fit on one line of an error message.
_SHOWN = 3
_HINT = "The options must make the very network that the file was saved from."
# Names of the network that are tried for what stands before them in the file.
_TRIED = 10


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> list[str]:
    """Give a network the weights of a file; every one of them must come from there.

    Names are matched after taking off what wrapping a network puts into them: ``_orig_mod.`` (compiled), ``module.``
    (data-parallel), and whatever else stands before all of them, as ``model.`` or ``bert.``. Names of the file that
    the network has no use for are passed over and reported. A weight that is tied to another one may be missing, and
    so may the number of batches that a normalizer has seen.
    """
    wanted = {_unwrapped(name): (name, value) for name, value in model.state_dict(keep_vars=True).items()}
    plain = {_unwrapped(name): value for name, value in checkpoint.tensors.items()}
    prefix = _common_prefix(list(wanted), plain)
    offered = {name.removeprefix(prefix): value for name, value in plain.items() if name.startswith(prefix)}
    _check_fit({name: value for name, (_, value) in wanted.items()}, offered, f"--checkpoint {checkpoint.path}", model)
    used = {own: offered[name] for name, (own, _) in wanted.items() if name in offered}
    try:
        model.load_state_dict(used, strict=False)
    except Exception as error:  # a network may have a way of its own to load
        raise UsageError(
            f"--checkpoint {checkpoint.path}: {type(model).__name__} refuses it: {short_reason(error)}"
        ) from error
    unused = [name for name in plain if not name.startswith(prefix) or name.removeprefix(prefix) not in wanted]
    wrapped = any(name != _unwrapped(name) for name in checkpoint.tensors)
    return [f"--checkpoint {checkpoint.path}: {note}." for note in _notes(checkpoint, prefix, wrapped, unused)]


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _common_prefix(wanted: Sequence[str], offered: Mapping[str, Tensor]) -> str:
    # Long names are the least likely to end other names by chance.
    tried = sorted(wanted, key=len)[-_TRIED:]
    found = {name.removesuffix(key) for key in tried for name in offered if name.endswith(f".{key}")}
    # The shortest of those that fit best; max takes the first of equals.
    candidates = sorted({"", *found}, key=lambda prefix: (len(prefix), prefix))
    return max(candidates, key=lambda prefix: sum(prefix + key in offered for key in wanted))


def _check_fit(wanted: Mapping[str, Tensor], offered: Mapping[str, Tensor], where: str, model: nn.Module) -> None:
    missing = [name for name in wanted if name not in offered and not _may_be_missing(name, wanted, offered)]
    unused = [name for name in offered if name not in wanted]
    name = type(model).__name__
    if missing:
        beside = f"; {len(unused)} in the file are not in {name} ({_listed(unused)})" if unused else ""
        raise UsageError(
            f"{where} lacks {len(missing)} of the {len(wanted)} weights of {name} ({_listed(missing)}){beside}."
            f"{_closest(missing, unused)}"
        )
    wrong = [key for key, value in wanted.items() if key in offered and offered[key].shape != value.shape]
    if wrong:
        shapes = (f"{key} is {_size(offered[key])}, not {_size(wanted[key])}" for key in wrong[:_SHOWN])
        raise UsageError(
            f"{where} has another shape for {len(wrong)} of the {len(wanted)} weights of {name}: {', '.join(shapes)}.\n"
            f"{_HINT}"
        )
    _check_kinds(wanted, offered, where)


def _check_kinds(wanted: Mapping[str, Tensor], offered: Mapping[str, Tensor], where: str) -> None:
    for name, value in wanted.items():
        found = offered.get(name)
        if found is None:
            continue
        if found.is_meta or found.layout is not torch.strided:
            raise UsageError(f"{where} has no values for {name}, or not as an ordinary tensor.\n{_HINT}")
        # torch would drop imaginary parts, and take the codes of quantized weights for their values.
        if value.is_floating_point() and not found.is_floating_point():
            raise UsageError(f"{where} has {found.dtype} for {name}, which is {value.dtype} in the network.\n{_HINT}")


def _may_be_missing(name: str, wanted: Mapping[str, Tensor], offered: Mapping[str, Tensor]) -> bool:
    if name.endswith("num_batches_tracked"):
        return True
    memory = wanted[name].data_ptr()
    return memory != 0 and any(value.data_ptr() == memory and key in offered for key, value in wanted.items())


def _closest(missing: Sequence[str], unused: Sequence[str]) -> str:
    close = difflib.get_close_matches(missing[0], unused, n=1)
    match = f"Is {missing[0]!r} called {close[0]!r} there? " if close else ""
    return f"\n{match}{_HINT}"


def _notes(checkpoint: Checkpoint, prefix: str, wrapped: bool, unused: Sequence[str]) -> Iterator[str]:
    if checkpoint.container:
        yield f"the weights were found under {checkpoint.container!r}"
    if prefix or wrapped:
        yield f"{prefix or '_orig_mod.'!r} was taken off the names"
    if unused:
        yield f"{len(unused)} of its {len(checkpoint.tensors)} weights are not in the network and were left out " + (
            f"({_listed(unused)})"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single number"
