"""Signal propagation diagnostics for PyTorch.

The public names are loaded when they are first used, so that ``sppkit --help`` imports neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sppkit.activations import activation_gain as activation_gain
    from sppkit.errors import DoesNotFitError as DoesNotFitError
    from sppkit.errors import MeasurementError as MeasurementError
    from sppkit.errors import SppkitError as SppkitError
    from sppkit.errors import UsageError as UsageError
    from sppkit.measurement import Probe as Probe
    from sppkit.measurement import measure as measure
    from sppkit.models.build import build_model as build_model
    from sppkit.plot.spp import plot_spp as plot_spp
    from sppkit.prediction import predict as predict
    from sppkit.sites import Site as Site
    from sppkit.table import read_csv as read_csv
    from sppkit.table import write_csv as write_csv

_HOME = {
    "DoesNotFitError": "errors",
    "MeasurementError": "errors",
    "Probe": "measurement",
    "Site": "sites",
    "SppkitError": "errors",
    "UsageError": "errors",
    "activation_gain": "activations",
    "build_model": "models.build",
    "measure": "measurement",
    "plot_spp": "plot.spp",
    "predict": "prediction",
    "read_csv": "table",
    "write_csv": "table",
}

__all__ = [*_HOME]

try:
    __version__ = version("sppkit")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sppkit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sppkit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
