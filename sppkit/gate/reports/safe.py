"""A verdict whose texts can be shown anywhere: names of blocks and much else in it come from models and files."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from sppkit.machine.printable import printable

if TYPE_CHECKING:
    from sppkit.gate.verdict import Finding, Verdict


def safe(verdict: Verdict) -> Verdict:
    """Return the same verdict with every text in it made printable, line breaks too."""
    findings = tuple(replace(finding, **_texts(finding)) for finding in verdict.findings)
    places = {printable(name): (printable(file), line) for name, (file, line) in verdict.places.items()}
    return replace(verdict, **_texts(verdict), findings=findings, places=places)


def _texts(item: Finding | Verdict) -> dict[str, Any]:
    values = {field.name: getattr(item, field.name) for field in fields(item)}
    texts = {name: printable(value) for name, value in values.items() if isinstance(value, str)}
    lists = {
        name: tuple(printable(text) for text in value)
        for name, value in values.items()
        if isinstance(value, tuple) and all(isinstance(text, str) for text in value)
    }
    return texts | {name: value for name, value in lists.items() if name != "findings"}
