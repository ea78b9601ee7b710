"""Signal propagation diagnostics for PyTorch.

The public names are loaded when they are first used, so that ``sppkit --help`` imports neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sppkit.diagnosis.diagnose import diagnose as diagnose
    from sppkit.diagnosis.result import Diagnosis as Diagnosis
    from sppkit.errors import DoesNotFitError as DoesNotFitError
    from sppkit.errors import MeasurementError as MeasurementError
    from sppkit.errors import SppkitError as SppkitError
    from sppkit.errors import UsageError as UsageError
    from sppkit.gate.check import check as check
    from sppkit.gate.verdict import Finding as Finding
    from sppkit.gate.verdict import Verdict as Verdict
    from sppkit.inputs.call import Call as Call
    from sppkit.measuring.insert_add_ons import insert_add_ons as insert_add_ons
    from sppkit.measuring.measure import find_joins as find_joins
    from sppkit.measuring.measure import measure as measure
    from sppkit.measuring.probe import Probe as Probe
    from sppkit.measuring.training.monitor import Monitor as Monitor
    from sppkit.models.activations import activation_gain as activation_gain
    from sppkit.models.build import build_model as build_model
    from sppkit.models.enorm import equi_normalize as equi_normalize
    from sppkit.models.noise import weight_noise as weight_noise
    from sppkit.models.replace import replace_normalizers as replace_normalizers
    from sppkit.plot.comparison import plot_comparison as plot_comparison
    from sppkit.plot.spp import plot_spp as plot_spp
    from sppkit.plot.training import plot_training as plot_training
    from sppkit.prediction.from_weights import predict_from_weights as predict_from_weights
    from sppkit.prediction.predict import predict as predict
    from sppkit.record.table import read_csv as read_csv
    from sppkit.record.table import write_csv as write_csv
    from sppkit.sites import Site as Site

    __version__: str

_HOME = {
    "Call": "inputs.call",
    "Diagnosis": "diagnosis.result",
    "DoesNotFitError": "errors",
    "Finding": "gate.verdict",
    "MeasurementError": "errors",
    "Monitor": "measuring.training.monitor",
    "Probe": "measuring.probe",
    "Site": "sites",
    "SppkitError": "errors",
    "UsageError": "errors",
    "Verdict": "gate.verdict",
    "activation_gain": "models.activations",
    "build_model": "models.build",
    "diagnose": "diagnosis.diagnose",
    "find_joins": "measuring.measure",
    "equi_normalize": "models.enorm",
    "insert_add_ons": "measuring.insert_add_ons",
    "check": "gate.check",
    "measure": "measuring.measure",
    "plot_comparison": "plot.comparison",
    "plot_spp": "plot.spp",
    "plot_training": "plot.training",
    "predict_from_weights": "prediction.from_weights",
    "predict": "prediction.predict",
    "read_csv": "record.table",
    "replace_normalizers": "models.replace",
    "weight_noise": "models.noise",
    "write_csv": "record.table",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOME:
        raise AttributeError(f"module 'sppkit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sppkit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, "__version__"])


def _version() -> str:
    # Imported here: reading what is installed takes as long to load as typer, and --help does not ask.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sppkit")
    except PackageNotFoundError:  # run from a source tree that was not installed
        return "0+unknown"
