"""Inputs whose samples are shifted between decoding and normalization, alone or beside the unshifted ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch

from sppkit.config.shifts import check_input
from sppkit.errors import UsageError
from sppkit.inputs.batches import split
from sppkit.inputs.shifts.shift import Shift, apply, generators_of, load_shift, partners_of
from sppkit.streams import STREAM_NAME, keyed_generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.config.shifts import ChosenShift
    from sppkit.inputs.batches import Batch, Inputs, Samples
    from sppkit.inputs.shifts.shift import PairShift


@dataclass(frozen=True)
class _Shifter:
    """One shift of one input's samples.

    Attributes:
        chosen: The shift.
        shift: The same, loaded.
        seed: Seed of what is random in it.
        samples: What is shifted.
        batch_size: Samples in a batch; where there is no end to them, partners are of one batch.
    """

    chosen: ChosenShift
    shift: Shift | PairShift
    seed: int
    samples: Samples
    batch_size: int

    def shifted(self, numbers: Sequence[int], pictures: torch.Tensor) -> torch.Tensor:
        """Return samples shifted, not normalized."""
        generators = generators_of(self.chosen, self.seed, numbers)
        partners = self.samples.read(self._partners(numbers)) if self.chosen.entry.pairs else None
        return apply(self.shift, pictures, generators, partners)

    def _partners(self, numbers: Sequence[int]) -> list[int]:
        if self.samples.used is not None:
            everyone = partners_of(self.chosen, self.seed, self.samples.used)
            return [everyone[number] for number in numbers]
        batch = numbers[0] // self.batch_size
        stream = f"shift/{self.chosen.name}/partners/{batch}"
        order = keyed_generator(self.seed, stream).permutation(self.batch_size).tolist()
        return [batch * self.batch_size + order[number % self.batch_size] for number in numbers]


def shifted(inputs: Inputs, chosen: ChosenShift, seed: int) -> Inputs:
    """Return the same inputs with every sample shifted."""
    samples, shifter = _shifter(inputs, chosen, seed)

    def batch(numbers: Sequence[int]) -> torch.Tensor:
        return samples.normalize(shifter.shifted(numbers, samples.read(numbers)))

    size = shifter.batch_size
    return replace(
        inputs,
        description=inputs.description | {"shift": describe_shift(chosen, seed)},
        batches=lambda: map(batch, _iter_numbers(inputs)),
        draw=None if inputs.draw is None else lambda index: batch(range(index * size, (index + 1) * size)),
    )


def beside(inputs: Inputs, shifts: Sequence[ChosenShift], seed: int) -> Inputs:
    """Return inputs each batch of which holds the samples as they are and then, in order, each shift of them.

    Samples n, n + N, n + 2 N, ... of a batch are one picture in all its forms.
    """
    shifters = [_shifter(inputs, chosen, seed)[1] for chosen in shifts]
    samples = cast("Samples", inputs.samples)

    def batch(numbers: Sequence[int]) -> Batch:
        pictures = samples.read(numbers)
        forms = [pictures, *(shifter.shifted(numbers, pictures) for shifter in shifters)]
        together = torch.cat([samples.normalize(form) for form in forms])
        return together if inputs.keyword is None else {inputs.keyword: together}

    return replace(
        inputs,
        description=inputs.description | {"shifts": [describe_shift(chosen, seed) for chosen in shifts]},
        batches=lambda: map(batch, _iter_numbers(inputs)),
    )


def describe_shift(chosen: ChosenShift, seed: int) -> dict[str, object]:
    """Return what a record says of a shift."""
    where = "before normalization, values in [0, 1]"
    return {"name": chosen.text, "where": where, "stream": f"{STREAM_NAME}, shift/{chosen.name}/<sample>", "seed": seed}


def _shifter(inputs: Inputs, chosen: ChosenShift, seed: int) -> tuple[Samples, _Shifter]:
    samples = inputs.samples
    if samples is None or len(inputs.shape) != len(("samples", "channels", "height", "width")):
        taken = "several, tokens, or what a function makes" if samples is None else "x".join(map(str, inputs.shape[1:]))
        raise UsageError(
            f"--shift {chosen.text} is for a network of one input, which is a picture; this one takes {taken}."
        )
    size = cast("list[int]", inputs.description["batch_shape"])[0]
    if not samples.are_pictures and not chosen.entry.any_values:
        _check_range(inputs, samples, chosen)
    return samples, _Shifter(chosen, load_shift(chosen), seed, samples, size)


def _check_range(inputs: Inputs, samples: Samples, chosen: ChosenShift) -> None:
    source = inputs.description["source"]
    if samples.used is None:
        check_input(chosen.text, "gaussian")
    for numbers in _iter_numbers(inputs):
        lowest, highest = (float(value) for value in torch.aminmax(samples.read(numbers)))
        if lowest < 0 or highest > 1:
            raise UsageError(
                f"{source} holds values from {lowest:.3g} to {highest:.3g}; --shift {chosen.text} is for pictures with "
                "values in [0, 1], before normalization.\n"
                "Save them as they were before they were normalized, or give a folder of pictures as --input."
            )


def _iter_numbers(inputs: Inputs) -> Iterator[range]:
    used = cast("int", inputs.description["samples_used"])
    size = cast("list[int]", inputs.description["batch_shape"])[0]
    return (range(used)[part] for part in split(used, size))
