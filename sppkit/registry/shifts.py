"""Every shift of the input, and what it takes."""

from __future__ import annotations

from sppkit.registry.entries import Real, ShiftEntry, Text, Whole, Words

_HOME = "sppkit.inputs.shifts"
_SETS = Words(("cifar", "imagenet"))
_AXES = Words(("chw", "hw"))
_OWN = "A function of your own can do it: --shift path/file.py:function."
# Kinds of corruption; ``sppkit.inputs.shifts.corruptions.kinds`` has their constants.
CORRUPTIONS = Words(
    (
        "gaussian-noise", "shot-noise", "impulse-noise", "speckle-noise", "gaussian-blur", "defocus-blur", "glass-blur",
        "motion-blur", "zoom-blur", "snow", "fog", "brightness", "contrast", "saturate", "elastic-transform",
        "pixelate", "jpeg-compression",
    ),
    {
        "frost": f"it lays six photographs over the picture, which sppkit does not have.\n{_OWN}",
        "spatter": f"it is defined by OpenCV's edges and distances, which sppkit does without.\n{_OWN}",
    },
)  # fmt: skip
SHIFTS: dict[str, ShiftEntry] = {
    "apr-p": ShiftEntry(
        f"{_HOME}.apr:amplitude_of_partner",
        "phases of the picture, amplitudes of another one (Chen et al. 2021)",
        settings={"axes": _AXES, "probability": Real(0, 1)},
        pairs=True,
        any_values=True,
    ),
    "apr-s": ShiftEntry(
        f"{_HOME}.apr:amplitude_of_own_form",
        "phases and amplitudes of two forms of the picture (Chen et al. 2021)",
        settings={"axes": _AXES, "overflow": Words(("clip", "wrap"))},
        moves=True,
    ),
    "augmix": ShiftEntry(
        f"{_HOME}.augmix:augmix",
        "a mixture of chains of operations on the picture (Hendrycks et al. 2020)",
        settings={
            "set": _SETS,
            "severity": Real(0.1, 10),
            "width": Whole(1, 100),
            "depth": Whole(0, 100),
            "operations": Words(("nine", "all")),
        },
        moves=True,
    ),
    "corruption": ShiftEntry(
        f"{_HOME}.corruptions.kinds:corruption",
        "KIND:SEVERITY of CIFAR-C or ImageNet-C (Hendrycks & Dietterich 2019)",
        arguments={"kind": CORRUPTIONS, "severity": Whole(1, 5)},
        settings={"set": _SETS},
    ),
    "crossnorm": ShiftEntry(
        f"{_HOME}.crossnorm:style_of_partner",
        "mean and deviation of every channel of another picture (Tang et al. 2021)",
        settings={"crop": Words(("neither", "style", "content", "both")), "probability": Real(0, 1)},
        pairs=True,
        any_values=True,
    ),
    "contrast": ShiftEntry(
        f"{_HOME}.style:contrast",
        "deviation of every channel from its mean times a factor",
        settings={"factor": Real(0, 100)},
    ),
    "brightness": ShiftEntry(
        f"{_HOME}.style:brightness", "every value plus an offset", settings={"offset": Real(-1, 1)}
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
        "FILE of sppkit git train: what its generator has learned, in drawn styles (Zhou et al. 2022)",
        arguments={"file": Text("FILE")},
        nuisance=True,
    ),
}
# Other spellings of a name.
SHIFT_ALIASES = {"corrupt": "corruption"}
