"""A shift of the user's own tensor."""

from __future__ import annotations

import torch

from sppkit.config.parsers import parse_seed, whole_number
from sppkit.config.shifts import parse_shift
from sppkit.errors import UsageError
from sppkit.inputs.shifts.shift import apply, generators_of, load_shift, partners_of

_AXES = ("samples", "channels", "height", "width")


def apply_shift(inputs: torch.Tensor, name: str, *, seed: int = 0, first: int = 0) -> torch.Tensor:
    """Return a batch of pictures, shifted.

    What becomes of a picture depends on the seed and on its number, ``first`` for the first one, and not on the batch
    that it stands in. Shifts that put pictures in pairs (``apr-p``, ``crossnorm``) pair those of this batch, by a
    permutation that the seed decides.

    Args:
        inputs: Shape (N, C, H, W), floating point, with values in [0, 1]: before normalization.
        name: A shift as it is typed after ``--shift``: ``sppkit list shifts``, or ``path/file.py:function``.
        seed: Seed of what is random in it.
        first: Number of the first sample, where a data set is shifted batch by batch.

    Returns:
        A new tensor of the same shape, type and device. ``apr-p`` and ``crossnorm`` may leave [0, 1].

    Raises:
        UsageError: If the name, the tensor or an option can't be used.

    >>> pictures = torch.rand(2, 3, 8, 8)
    >>> darker = apply_shift(pictures, "contrast:factor=0.5")
    >>> bool(torch.allclose(darker.std((2, 3)), pictures.std((2, 3)) / 2))
    True
    """
    chosen = parse_shift(name)
    seed, first = parse_seed("seed", seed), whole_number(0)("first", first)
    _check(inputs, name, any_values=chosen.entry.any_values)
    exact = inputs.detach().to("cpu", torch.promote_types(inputs.dtype, torch.float32))
    partners = exact[partners_of(chosen, seed, len(exact))] if chosen.entry.pairs else None
    generators = generators_of(chosen, seed, range(first, first + len(exact)))
    return apply(load_shift(chosen), exact, generators, partners).to(inputs)


def _check(inputs: object, name: str, *, any_values: bool) -> None:
    if not isinstance(inputs, torch.Tensor):
        raise UsageError(f"inputs must be a tensor of pictures, not {type(inputs).__name__}.")
    if inputs.ndim != len(_AXES) or not inputs.is_floating_point():
        raise UsageError(
            f"inputs must be floating-point pictures, {' x '.join(_AXES)}; these are {inputs.dtype} of shape "
            f"{tuple(inputs.shape)}."
        )
    if inputs.numel() == 0:
        raise UsageError(f"inputs of shape {tuple(inputs.shape)} are empty: there is nothing to shift.")
    lowest, highest = (float(value) for value in torch.aminmax(inputs.detach().float()))
    if not any_values and not (lowest >= 0 and highest <= 1):
        raise UsageError(
            f"inputs hold values from {lowest:.3g} to {highest:.3g}; {name} is for pictures with values in [0, 1]: "
            "shift them before you normalize them."
        )
