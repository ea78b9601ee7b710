"""Signal propagation diagnostics for PyTorch.

The public names are loaded when they are first used, so that ``sppkit --help`` imports neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sppkit.comparison.compare import Comparison as Comparison
    from sppkit.comparison.compare import compare as compare
    from sppkit.comparison.suggest import Suggestion as Suggestion
    from sppkit.comparison.suggest import suggest as suggest
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
    from sppkit.inputs.long_tails import LongTail as LongTail
    from sppkit.inputs.long_tails import long_tailed as long_tailed
    from sppkit.inputs.shifts.apply_shift import apply_shift as apply_shift
    from sppkit.inputs.shifts.generative.train import train_git as train_git
    from sppkit.inputs.shifts.generative.transform import GenerativeTransform as GenerativeTransform
    from sppkit.measuring.expect import predict as predict
    from sppkit.measuring.insert_add_ons import insert_add_ons as insert_add_ons
    from sppkit.measuring.invariance.invariance import invariance as invariance
    from sppkit.measuring.invariance.invariance import invariance_by_block as invariance_by_block
    from sppkit.measuring.invariance.spectrum import SpectrumShares as SpectrumShares
    from sppkit.measuring.invariance.spectrum import spectrum_shares as spectrum_shares
    from sppkit.measuring.measure import find_joins as find_joins
    from sppkit.measuring.measure import measure as measure
    from sppkit.measuring.probe import Probe as Probe
    from sppkit.measuring.shifted.measure_shift import measure_shift as measure_shift
    from sppkit.measuring.training.monitor import Monitor as Monitor
    from sppkit.models.activations import activation_gain as activation_gain
    from sppkit.models.build import build_model as build_model
    from sppkit.models.enorm import equi_normalize as equi_normalize
    from sppkit.models.noise import weight_noise as weight_noise
    from sppkit.models.replace import replace_normalizers as replace_normalizers
    from sppkit.plot.comparison import plot_comparison as plot_comparison
    from sppkit.plot.invariance import plot_invariance as plot_invariance
    from sppkit.plot.page.report import Page as Page
    from sppkit.plot.page.report import report as report
    from sppkit.plot.shift import plot_shift as plot_shift
    from sppkit.plot.spp import plot_spp as plot_spp
    from sppkit.plot.training import plot_training as plot_training
    from sppkit.prediction.from_weights import predict_from_weights as predict_from_weights
    from sppkit.record.table import read_csv as read_csv
    from sppkit.record.table import write_csv as write_csv
    from sppkit.sites import Site as Site

    __version__: str

_HOME = {
    "Comparison": "comparison.compare",
    "Call": "inputs.call",
    "Diagnosis": "diagnosis.result",
    "DoesNotFitError": "errors",
    "Finding": "gate.verdict",
    "GenerativeTransform": "inputs.shifts.generative.transform",
    "LongTail": "inputs.long_tails",
    "MeasurementError": "errors",
    "Monitor": "measuring.training.monitor",
    "Page": "plot.page.report",
    "Probe": "measuring.probe",
    "Site": "sites",
    "Suggestion": "comparison.suggest",
    "SpectrumShares": "measuring.invariance.spectrum",
    "SppkitError": "errors",
    "UsageError": "errors",
    "Verdict": "gate.verdict",
    "activation_gain": "models.activations",
    "apply_shift": "inputs.shifts.apply_shift",
    "build_model": "models.build",
    "diagnose": "diagnosis.diagnose",
    "find_joins": "measuring.measure",
    "equi_normalize": "models.enorm",
    "insert_add_ons": "measuring.insert_add_ons",
    "check": "gate.check",
    "compare": "comparison.compare",
    "suggest": "comparison.suggest",
    "invariance": "measuring.invariance.invariance",
    "invariance_by_block": "measuring.invariance.invariance",
    "long_tailed": "inputs.long_tails",
    "measure": "measuring.measure",
    "measure_shift": "measuring.shifted.measure_shift",
    "plot_comparison": "plot.comparison",
    "plot_shift": "plot.shift",
    "plot_invariance": "plot.invariance",
    "plot_spp": "plot.spp",
    "plot_training": "plot.training",
    "predict_from_weights": "prediction.from_weights",
    "predict": "measuring.expect",
    "read_csv": "record.table",
    "report": "plot.page.report",
    "replace_normalizers": "models.replace",
    "spectrum_shares": "measuring.invariance.spectrum",
    "train_git": "inputs.shifts.generative.train",
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
