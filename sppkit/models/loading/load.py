"""From what follows ``--model`` to a function that makes the network."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError
from sppkit.models.loading.python import own_factory
from sppkit.models.loading.timm import timm_factory
from sppkit.models.loading.torchvision import torchvision_factory, torchvision_image_size
from sppkit.models.loading.transformers import transformers_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from sppkit.models.loading.reference import Reference

_PACKAGES = {"hf": "transformers"}
# Arguments by which the libraries ask for published weights.
_DOWNLOADS = ("pretrained", "weights", "weights_backbone")


@dataclass(frozen=True)
class Recipe:
    """How to make a network.

    Attributes:
        make: Makes a new one, its weights drawn from the global random states; raises ``UsageError`` if it can't.
        image_size: Height and width in pixels that its library recommends, if it is known outside the network itself.
    """

    make: Callable[[], nn.Module]
    image_size: int | None = None


def load_recipe(reference: Reference, kw: Mapping[str, Any]) -> Recipe:
    """Find what makes a network; the user's own code is imported, that is run, here."""
    if reference.library is None:
        return Recipe(own_factory(reference, kw))
    _refuse_downloads(reference, kw)
    if reference.library == "timm":
        return Recipe(timm_factory(reference, kw))
    if reference.library == "hf":
        return Recipe(transformers_factory(reference, kw))
    return Recipe(torchvision_factory(reference, kw), torchvision_image_size(reference))


def library_version(reference: Reference) -> str | None:
    """Return the library that makes a network and its version, which can change a number."""
    if reference.library is None:
        return None
    package = _PACKAGES.get(reference.library, reference.library)
    return f"{package} {getattr(importlib.import_module(package), '__version__', 'of an unknown version')}"


def _refuse_downloads(reference: Reference, kw: Mapping[str, Any]) -> None:
    for name in _DOWNLOADS:
        if kw.get(name):
            raise UsageError(
                f"--kw {name}={kw[name]} asks {reference.library} for published weights, and nothing is downloaded.\n"
                "Leave it out, or give a file of weights: --checkpoint FILE"
            )
