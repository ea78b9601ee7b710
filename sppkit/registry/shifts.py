"""Every shift of the input, and what it takes."""

from __future__ import annotations

from sppkit.registry.entries import Real, ShiftEntry, Text, Words

_HOME = "sppkit.shifts"
SHIFTS: dict[str, ShiftEntry] = {
    "apr-p": ShiftEntry(
        f"{_HOME}.apr:amplitude_of_partner",
        "phases of the picture, amplitudes of another one (Chen et al. 2021)",
        settings={"axes": Words(("chw", "hw")), "probability": Real(0, 1)},
        pairs=True,
        any_values=True,
    ),
    "git": ShiftEntry(
        f"{_HOME}.generative.generator:generative",
        "what a generator of sppkit git train has learned, with styles drawn anew (Zhou et al. 2022)",
        arguments={"file": Text("FILE")},
        nuisance=True,
    ),
}
# Other spellings of a name.
SHIFT_ALIASES = {"corrupt": "corruption"}
