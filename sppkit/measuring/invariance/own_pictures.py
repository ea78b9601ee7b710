"""Labelled pictures from a function of the user's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sppkit.errors import UsageError
from sppkit.inputs.labelled import from_tensors
from sppkit.machine.user_code import failed
from sppkit.measuring.forward.random_state import seeded
from sppkit.models.loading.python import own_function
from sppkit.models.loading.reference import Reference

if TYPE_CHECKING:
    from sppkit.inputs.labelled import Labelled


def call_for_pictures(source: str, seed: int) -> Labelled:
    """Call what ``--input path/file.py:function`` names, without arguments, for pictures and their labels."""
    place, _, name = source.rpartition(":")
    function = own_function(Reference(source, None, place, name), "--input")
    with seeded(seed):
        try:
            made = function()
        except (Exception, SystemExit) as error:  # whatever a stranger's code raises
            raise failed(f"--input {source}", "failed", error) from error
    if not isinstance(made, tuple) or len(made) != len(("pictures", "labels")):
        raise UsageError(
            f"--input {source} returned a value of type {type(made).__name__}; it must return pictures and their "
            "labels, a tuple of two."
        )
    return replace(from_tensors(*made), description={"kind": "function", "source": source})
