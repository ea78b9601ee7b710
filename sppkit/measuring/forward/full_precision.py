"""Full precision: float32 means float32, whatever torch has been allowed to replace it by."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def full_float32() -> Iterator[None]:
    """Switch off TF32 (the default of CUDA convolutions) and bfloat16 products of float32 numbers, and back on."""
    saved = list(_iter_switches())
    for holder, name, exact, _value in saved:
        setattr(holder, name, exact)
    try:
        yield
    finally:
        for holder, name, _exact, value in saved:
            setattr(holder, name, value)


def _iter_switches() -> Iterator[tuple[object, str, object, object]]:
    """Yield holder, attribute, the value for full precision and the value now."""
    backends = torch.backends
    for holder in (backends.cuda.matmul, backends.cudnn):
        # Where the user has set precisions per operation, torch refuses to read the older switch; those below do.
        with suppress(RuntimeError):
            yield holder, "allow_tf32", False, holder.allow_tf32
    # Per operation since torch 2.9. Behind the older switches, which overwrite them.
    operations = [(backends.cuda, "matmul"), (backends.cudnn, "conv"), (backends.cudnn, "rnn")]
    operations += [(backends.mkldnn, name) for name in ("matmul", "conv", "rnn")]
    for backend, name in operations:
        operation = getattr(backend, name, None)
        with suppress(AttributeError):
            yield operation, "fp32_precision", "ieee", operation.fp32_precision  # type: ignore[union-attr]
