"""Healthy networks drawn at random, held against theory: how far they are from it, and whether any fails."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

import sppkit
from sppkit.curves.curves import Curves
from sppkit.diagnosis.against_theory import iter_off_theory, why_not_judged
from sppkit.diagnosis.limit import Limit
from sppkit.diagnosis.presets import PRESETS, preset_of
from sppkit.errors import UsageError
from sppkit.inputs.gaussian import draw_batch
from sppkit.models.spec import build_spec, describe
from sppkit.prediction.predict import Setting, predict_spec, why_unpredicted

NETWORKS, SEEDS = 175, (1, 2, 3, 4)
# Small ones of each architecture that the tests measure.
QUICK = (1, 2, 7)
# Pixels times samples times blocks times width², weighed by the stem: what a small machine measures in seconds.
_LARGEST = 6e6
_STEMS = {"imagenet": 1, "no-pool": 4, "cifar": 8}
# Each option is drawn with its probability, and is the architecture's own otherwise; the last three are nf-resnet's.
_OPTIONS: dict[str, tuple[float, tuple[Any, ...]]] = {
    "se": (0.15, (True,)),
    "padding": (0.15, ("circular",)),
    "stem": (0.15, ("no-pool", "cifar")),
    "activation": (
        0.2,
        ("silu", "gelu", "tanh", "elu", "selu", "leaky_relu", "identity", "softplus", "mish", "hardswish", "sigmoid"),
    ),
    "weights": (0.12, ("none", "ws", "centered-ws", "scaled-ws")),
    "init": (0.1, ("he", "lecun")),
    "block": (0.1, ("basic",)),
    "skip_gain": (0.05, (0.5, 0.25)),
    "gain": (0.05, ("exact",)),
    "alpha": (0.3, (0.1, 0.5, 1.0)),
    "stochastic_depth": (0.1, (0.1, 0.25, 0.5)),
}


class Drawn(NamedTuple):
    """A network and what it is measured with."""

    arch: str
    options: dict[str, Any]
    setting: Setting

    @property
    def name(self) -> str:
        told = [f"{key} {value}" for key, value in self.options.items()]
        size = f"{self.setting.batches}×{self.setting.samples} of {self.setting.height} px"
        return ", ".join([self.arch, *told, size, *([self.setting.mode] if self.setting.mode != "train" else [])])

    @property
    def record(self) -> dict[str, Any]:
        setting = self.setting
        shape = [setting.samples, 3, setting.height, setting.width]
        return {
            "arch": self.arch,
            "mode": setting.mode,
            "dtype": "float32",
            "input": {"kind": "gaussian", "batch_shape": shape, "batches": setting.batches},
            "network": describe(build_spec(self.arch, self.options)),
        }

    def measure(self) -> pd.DataFrame:
        """Return the table of all seeds, with predictions."""
        spec, setting = build_spec(self.arch, self.options), self.setting
        expected = predict_spec(spec, setting).set_index("block")
        shape = (setting.samples, 3, setting.height, setting.width)
        tables = []
        for seed in SEEDS:
            batches = [draw_batch(shape, seed, index) for index in range(setting.batches)]
            model = sppkit.build_model(self.arch, seed=seed, **self.options)
            tables.append(sppkit.measure(model, batches, mode="eval" if setting.mode == "eval" else "train", seed=seed))
        table = pd.concat(tables, ignore_index=True)
        columns = [name for name in expected.columns if name.startswith("predicted_")]
        return table.assign(**{name: table["block"].map(expected[name]).astype("float64") for name in columns})


def draw(index: int) -> Drawn:
    """Draw a network; what can't be predicted or is too large is drawn again."""
    chance = random.Random(index)
    while True:
        drawn = _draw(chance)
        try:
            spec = build_spec(drawn.arch, drawn.options)
        except UsageError:  # an option that means nothing for it
            continue
        setting = drawn.setting
        work = setting.height**2 * setting.samples * setting.batches * sum(spec.stages) * drawn.options["width"] ** 2
        if work * _STEMS[spec.stem] <= _LARGEST and why_unpredicted(spec, setting) is None:
            return drawn


def _draw(chance: random.Random) -> Drawn:
    arch = chance.choice(["bn-relu-conv", "relu-bn-conv", "nf-resnet", "nf-resnet", "he-resnet"])
    options: dict[str, Any] = {"width": chance.choice([0.1, 0.125, 0.2, 0.25, 0.25, 0.5, 1.0])}
    if chance.random() < 0.3:
        options["stages"] = chance.choice([(2, 2), (3, 3, 3), (1, 1, 1, 1), (2, 2, 2, 2), (4, 4), (1,)])
    else:
        options["depth"] = chance.choice([14, 26, 38, 50, 62, 101])
    for name, (probability, values) in _OPTIONS.items():
        if chance.random() < probability:
            options[name] = chance.choice(values)
    size = chance.choice([32, 32, 48, 64, 96, 128, 224])
    samples, batches = chance.choice([2, 4, 8, 8, 16, 32]), chance.choice([1, 1, 1, 2, 3])
    return Drawn(arch, options, Setting(size, size, samples, batches, chance.choice(["train"] * 24 + ["eval"])))


def measure_all(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield one row per network and number of seeds."""
    for index in QUICK if quick else range(NETWORKS):
        yield from judge(draw(index))


def judge(drawn: Drawn, table: pd.DataFrame | None = None) -> Iterator[dict[str, Any]]:
    """Yield what theory says of a network with all its seeds and with one of them."""
    measured = drawn.measure() if table is None else table
    for seeds in (len(SEEDS), 1):
        signal = Curves(measured[measured["seed"] <= SEEDS[seeds - 1]], drawn.record)
        found = list(iter_off_theory(signal, PRESETS[preset_of(drawn.arch)]))
        yield {
            "network": drawn.name,
            "seeds": seeds,
            "judged": why_not_judged(signal) is None,
            "alarms": len(found),
            "means": _farthest(signal, ("channel_squared_mean",)),
            "variances": _farthest(signal, ("channel_variance", "residual_variance")),
        }


def _farthest(signal: Curves, statistics: tuple[str, ...]) -> float:
    """Return the largest factor from theory that is more than chance; 1 where there is none."""
    # A tolerance that is passed by whatever is more than chance.
    limits = {f"predicted_{name}": (Limit(ratio=1 + 1e-9),) for name in statistics}
    logs = [abs(math.log(item.ratio)) for item in iter_off_theory(signal, limits)]
    return math.exp(max(logs, default=0.0))
