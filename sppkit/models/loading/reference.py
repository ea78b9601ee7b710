"""What follows ``--model``, read but not yet loaded; needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from sppkit import registry
from sppkit.errors import UsageError

Library = Literal["timm", "torchvision", "hf"]

LIBRARIES: dict[str, Library] = {"timm": "timm", "torchvision": "torchvision", "hf": "hf"}
_FORMS = "timm:NAME, torchvision:NAME, hf:NAME, package.module:factory or path/file.py:factory"


@dataclass(frozen=True)
class Reference:
    """Where a network comes from.

    Attributes:
        text: As the user typed it.
        library: The library that makes it, or None for the user's own code.
        place: The name inside the library; else the module's dotted name or the file's path.
        factory: What to call in the user's own code; empty for a library.
    """

    text: str
    library: Library | None
    place: str
    factory: str = ""

    @property
    def is_file(self) -> bool:
        """Whether the factory stands in a file rather than in an importable module."""
        return self.library is None and self.place.endswith(".py")

    @property
    def stem(self) -> str:
        """A file name that says which network this is: ``timm-resnet50``, or module and factory: ``nets-small``."""
        place = PurePath(self.place.replace("\\", "/")).stem if self.is_file else self.place
        parts = (self.library, PurePath(place).name) if self.library else (place.rpartition(".")[2], self.factory)
        return safe("-".join(filter(None, parts)))


def parse_reference(text: str) -> Reference:
    """Read what follows ``--model``.

    >>> parse_reference("timm:resnet50").stem, parse_reference("nets/small.py:make").stem
    ('timm-resnet50', 'small-make')
    """
    head, colon, tail = text.partition(":")
    if head in LIBRARIES and tail:
        return Reference(text, LIBRARIES[head], tail)
    place, colon, factory = text.rpartition(":")  # a path of Windows has a colon of its own
    if not (colon and place and factory) or head in LIBRARIES:
        raise UsageError(f"--model {text!r:.80} names no network; give {_FORMS}.{_advice(text)}")
    if place.endswith(".py"):
        return Reference(text, None, place, factory)
    if not all(part.isidentifier() for part in place.split(".")):
        raise UsageError(
            f"--model {text!r:.80}: {place!r} is neither a module's name nor a path that ends in .py.\nGive {_FORMS}."
        )
    return Reference(text, None, place, factory)


def safe(text: str) -> str:
    """Return a text as part of a file name.

    >>> safe("(224, 224)")
    '224-224'
    """
    return re.sub(r"[^\w.]+", "-", text, flags=re.ASCII).strip("-.")


def _advice(text: str) -> str:
    if text in registry.ARCHITECTURES:
        return f"\n{text} is an architecture of sppkit: type --arch {text}."
    if text.endswith(".py"):
        return f"\nName what makes the network in it, as in {text}:build."
    return f"\nA model of timm is given as timm:{text}." if re.fullmatch(r"[\w.-]+", text) else ""
