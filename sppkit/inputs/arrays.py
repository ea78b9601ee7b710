"""An array in a file as batches, taken as it is once it is known to be what a network takes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sppkit.errors import UsageError
from sppkit.inputs.batches import Inputs, Samples, describe, split
from sppkit.inputs.stored import OPENERS
from sppkit.inputs.tokens import read_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.inputs.stored import Stored

AXES = ("samples", "channels", "height", "width")
FLOATING = ("float32", "float16", "bfloat16", "float64")


def load_array(
    source: str, *, shape: tuple[int, ...], batch_size: int, batches: int, vocab: int | None = None
) -> Inputs:
    """Describe batches of an array in a file, as (N, C, H, W), unchanged but for their conversion to float32."""
    path = Path(source)
    stored = OPENERS[path.suffix.lower()](path)
    if vocab is not None and "int" in stored.dtype:
        return read_tokens(path, stored, vocab=vocab, batch_size=batch_size, batches=batches)
    check_array(path, stored, shape or stored.shape[1:])
    used = min(stored.shape[0], batch_size * batches)

    def read_all() -> Iterator[torch.Tensor]:
        return (stored.read(part) for part in split(used, batch_size))

    check_finite(path, read_all())
    sample = stored.shape[1:]
    description = describe(
        "array", source, shape=sample, batch_size=batch_size, used=used, available=stored.shape[0]
    ) | {"normalized": "as they are", "dtype": stored.dtype}
    samples = Samples(partial(_read_samples, stored), _unchanged, are_pictures=False, used=used)
    return Inputs(description, read_all, (min(used, batch_size), *sample), samples=samples)


def check_array(path: Path, stored: Stored, sample: tuple[int, ...]) -> None:
    """Refuse an array that isn't floating-point numbers of the axes, and the channels, that the network takes."""
    size = "x".join(map(str, stored.shape)) or "a single number"
    is_picture = len(sample) == len(AXES) - 1
    if len(stored.shape) != len(sample) + 1:
        axes = AXES if is_picture else ("samples", *map(str, sample))
        remedy = "Add the first axis: array[None]." if len(stored.shape) == len(sample) else "Reshape it."
        raise UsageError(f"{path} holds {size}; {len(axes)} axes are needed: {' x '.join(axes)}. {remedy}")
    if stored.dtype not in FLOATING:
        raise UsageError(
            f"{path} holds {stored.dtype} numbers; {', '.join(FLOATING[:-1])} or {FLOATING[-1]} are needed.\n"
            "Convert and normalize them first, for instance (array / 255 - mean) / std, and save the result."
        )
    if 0 in stored.shape:
        raise UsageError(f"{path} holds {size}, which is no sample at all. Save at least one.")
    if is_picture and stored.shape[1] != sample[0]:
        raise UsageError(_wrong_channels(path, stored.shape, sample[0]))


def _read_samples(stored: Stored, numbers: Sequence[int]) -> torch.Tensor:
    return torch.cat([stored.read(slice(number, number + 1)) for number in numbers])


def _unchanged(samples: torch.Tensor) -> torch.Tensor:
    return samples


def check_finite(path: Path, batches: Iterator[torch.Tensor]) -> None:
    """Refuse NaN and infinities."""
    first: list[int] = []
    bad = samples = total = 0
    for batch in batches:
        wrong = ~torch.isfinite(batch)
        if not first and wrong.any():
            first = wrong.nonzero()[0].tolist()
            first[0] += samples
        bad, samples, total = bad + int(wrong.sum()), samples + len(batch), total + batch.numel()
    if bad:
        raise UsageError(
            f"{path}: {bad} of the {total} values to be used are NaN or infinite in float32, the first at {first}.\n"
            "Replace them, or leave their samples out, and save the result."
        )


def _wrong_channels(path: Path, shape: tuple[int, ...], channels: int) -> str:
    size = "x".join(map(str, shape))
    fact = f"{path} holds {size}: its second axis, the channels, is {shape[1]} long where the network takes {channels}."
    if shape[-1] == channels:
        return f"{fact}\nIf the channels come last, save array.transpose(0, 3, 1, 2)."
    return f"{fact}\nType --shape {','.join(map(str, shape[1:]))}, or save an array with {channels} channels."
