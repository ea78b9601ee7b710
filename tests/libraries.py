"""Libraries of networks, imported where they are; .ci/run makes an environment that has them."""

from __future__ import annotations

import contextlib
import importlib
from types import ModuleType

import torch


def import_library(name: str) -> ModuleType:
    """Import a library, also with a torchvision that was built for another torch: timm needs none of its code."""
    _declare_missing_operators()
    return importlib.import_module(name)


def _declare_missing_operators() -> None:
    # Torchvision describes its operators to torch when it is imported, also those that its compiled part did not bring.
    for operator in ("nms", "qnms"):
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            if f"torchvision::{operator} does not exist" not in str(error):
                raise
            arguments = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
            with contextlib.suppress(RuntimeError):  # declared before, when a later one was missing
                torch.library.define(f"torchvision::{operator}", arguments)
        except ImportError:
            return
