"""Every shift of the input, and what it takes."""

from __future__ import annotations

from sppkit.registry.entries import Real, ShiftEntry, Text, Whole, Words

_HOME = "sppkit.shifts"
SHIFTS: dict[str, ShiftEntry] = {
    "apr-p": ShiftEntry(
        f"{_HOME}.apr:amplitude_of_partner",
        "phases of the picture, amplitudes of another one (Chen et al. 2021)",
        settings={"axes": Words(("chw", "hw")), "probability": Real(0, 1)},
        pairs=True,
        any_values=True,
    ),
    "rotate": ShiftEntry(
        f"{_HOME}.nuisances.rotate:rotate",
        "by an angle from -degrees to degrees; every angle unless told",
        settings={"degrees": Real(0, 180)},
        moves=True,
        nuisance=True,
    ),
    "background": ShiftEntry(
        f"{_HOME}.nuisances.background:background",
        "every pixel of the grey level value (0) becomes one of darkest (0) to brightest (99) of 255",
        settings={"value": Whole(0, 255), "darkest": Whole(0, 255), "brightest": Whole(0, 255)},
        nuisance=True,
    ),
    "dilate": ShiftEntry(
        f"{_HOME}.nuisances.dilate:dilate",
        "bright strokes grow by boxes of 2 to dilation (4) pixels, or shrink by 1 to erosion (2)",
        settings={"probability": Real(0, 1), "dilation": Whole(2, 64), "erosion": Whole(1, 64)},
        moves=True,
        nuisance=True,
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
