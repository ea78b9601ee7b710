"""Compiled code, which never calls the hooks that came after it: while a probe listens, its Python runs instead."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

# The probes that listen, and the stance that they share: they may be left in any order.
_listening: list[object] = []
_stance = ExitStack()


@contextmanager
def run_uncompiled() -> Iterator[None]:
    """Run what ``torch.compile`` made as the code that it was made from, operation by operation, with its hooks.

    A graph that was compiled before a hook was registered is not compiled again for it, and skips it without a word.
    """
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing it takes seconds
        yield
        return
    if not _listening:
        _stance.enter_context(torch.compiler.set_stance("force_eager"))
    probe = object()
    _listening.append(probe)
    try:
        yield
    finally:
        _listening.remove(probe)
        if not _listening:
            _stance.close()
