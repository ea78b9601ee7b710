"""``timm:NAME``: a model of PyTorch Image Models, with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit import registry
from sppkit.models.loading.factory import call_factory
from sppkit.models.loading.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from sppkit.models.loading.reference import Reference


def timm_factory(reference: Reference, kw: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """Return what makes a model of timm."""
    timm = import_optional("timm", reference.text)
    # Also refuses names of a hub, which would be downloaded.
    if not timm.is_model(reference.place):
        registry.check_name("model of timm:", reference.place, timm.list_models())

    arguments = {**kw, "model_name": reference.place, "pretrained": False}

    def make() -> nn.Module:
        return call_factory(timm.create_model, arguments, reference.text)

    return make
