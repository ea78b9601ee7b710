"""``torchvision:NAME``: a model of torchvision, with random weights."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from sppkit import registry
from sppkit.models.loading.factory import call_factory
from sppkit.models.loading.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from sppkit.models.loading.reference import Reference


def torchvision_factory(reference: Reference, kw: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """Return what makes a model of torchvision."""
    builder = _find(reference).get_model_builder(reference.place)
    # A detector's or segmenter's backbone has weights of its own, which would be downloaded.
    unweighted = [name for name in ("weights", "weights_backbone") if name in inspect.signature(builder).parameters]

    def make() -> nn.Module:
        return call_factory(builder, {**dict.fromkeys(unweighted), **kw}, reference.text)

    return make


def torchvision_image_size(reference: Reference) -> int | None:
    """Return the image size that a model's published weights were trained for."""
    weights = getattr(_find(reference).get_model_weights(reference.place), "DEFAULT", None)
    size = getattr(getattr(weights, "transforms", None), "keywords", {}).get("crop_size")
    return size if isinstance(size, int) else None


def _find(reference: Reference) -> Any:
    models = import_optional("torchvision", reference.text).models
    registry.check_name("model of torchvision:", reference.place, models.list_models())
    return models
