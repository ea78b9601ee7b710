"""Running a network operation by operation, so that each of them is seen."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from sppkit.errors import UsageError
from sppkit.measuring.forward.compiled import run_uncompiled

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def seen_in_parts() -> Iterator[None]:
    """Run compiled code and fused transformer layers operation by operation while the context is open."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with run_uncompiled():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def check_capture() -> None:
    """Refuse what is being captured as a CUDA graph."""
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        raise UsageError("a CUDA graph is being captured: measure the model outside of it.")
