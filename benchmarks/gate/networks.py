"""The networks that faults are planted in: the named architectures, and one as a user would write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

import sppkit
from sppkit.inputs.gaussian import draw_batch
from sppkit.models.spec import build_spec, describe
from sppkit.prediction.predict import Setting, predict_spec
from sppkit.sites import Site
from sppkit.streams import STREAM_NAME

Change = Callable[[nn.Module], None]


@dataclass(frozen=True)
class Case:
    """One network and how it is fed; ``arch`` is empty for the user's model."""

    arch: str
    options: dict[str, Any] = field(default_factory=dict)
    width: float = 0.25
    image_size: int = 64
    batch_size: int = 8

    @property
    def name(self) -> str:
        told = [f"{key} {value}" for key, value in self.options.items() if key != "stages"]
        return ", ".join([self.arch or "a user's model", f"width {self.width:g}", f"{self.image_size} px", *told])

    @property
    def chosen(self) -> dict[str, Any]:
        """Every model option."""
        return {"width": self.width, "stages": (3, 3, 3), **self.options}

    def build(self, seed: int) -> nn.Module:
        if self.arch:
            return sppkit.build_model(self.arch, seed=seed, **self.chosen)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return UserNetwork(round(64 * self.width))

    def record(self, seeds: list[int]) -> dict[str, Any]:
        shape = [self.batch_size, 3, self.image_size, self.image_size]
        known = {
            "mode": "train",
            "dtype": "float32",
            "seeds": seeds,
            "input": {"kind": "gaussian", "batch_shape": shape, "batches": 1},
            "random_stream": STREAM_NAME,
        }
        if not self.arch:
            return known
        return known | {"arch": self.arch, "network": describe(build_spec(self.arch, self.chosen))}

    def measure(self, seeds: list[int], change: Change | None = None) -> pd.DataFrame:
        """Return the table of several seeds, the model having been changed after it was built."""
        tables = []
        for seed in seeds:
            model = self.build(seed).train()
            if change is not None:
                change(model)
            batch = draw_batch((self.batch_size, 3, self.image_size, self.image_size), seed, 0)
            tables.append(sppkit.measure(model, batch, seed=seed))
        return self.predicted(pd.concat(tables, ignore_index=True))

    def predicted(self, table: pd.DataFrame) -> pd.DataFrame:
        """Put theory's columns beside the measured ones, as a run has them; a user's model has none."""
        if not self.arch:
            return table
        expected = _predict(self).set_index("block")
        columns = [name for name in expected.columns if name.startswith("predicted_")]
        return table.assign(**{name: table["block"].map(expected[name]).astype("float64") for name in columns})


_PREDICTIONS: dict[str, pd.DataFrame] = {}


def _predict(case: Case) -> pd.DataFrame:
    # Options are no key, being a dict; their text is.
    key = repr(case)
    if key not in _PREDICTIONS:
        spec = build_spec(case.arch, case.chosen)
        _PREDICTIONS[key] = predict_spec(spec, Setting(case.image_size, case.image_size, case.batch_size))
    return _PREDICTIONS[key]


class UserBlock(nn.Module):
    """The block of ResNet-18, as a user writes it: convolution, BatchNorm, ReLU after the addition."""

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outgoing)
        self.branch = nn.Identity()
        self.relu: nn.Module = nn.ReLU(inplace=True)
        self.down: nn.Module = nn.Identity()
        if stride > 1 or incoming != outgoing:
            self.down = nn.Sequential(nn.Conv2d(incoming, outgoing, 1, stride, bias=False), nn.BatchNorm2d(outgoing))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y = self.branch(y)
        return self.relu(y + self.down(x))


class UserNetwork(nn.Module):
    """Three stages of three blocks with torch's own initialization, which draws from one shared stream."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)
        )
        widths = [channels, 2 * channels, 4 * channels]
        self.blocks = nn.ModuleList()
        incoming = channels
        for stage, outgoing in enumerate(widths):
            for place in range(3):
                self.blocks.append(UserBlock(incoming, outgoing, 2 if place == 0 and stage else 1))
                incoming = outgoing

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x

    def signal_sites(self) -> list[Site]:
        sites = [Site(0, 0, "stem", "block_output", "stem")]
        for index in range(len(self.blocks)):
            name = f"blocks.{index}"
            sites.append(Site(index + 1, index // 3 + 1, name, "residual_branch", f"{name}.branch"))
            sites.append(Site(index + 1, index // 3 + 1, name, "block_output", name))
        return sites
