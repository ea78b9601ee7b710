"""A configured measurement of invariance: options -> network and labelled pictures -> tables and record."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from sppkit.config.invariance import INVARIANCE_OPTIONS, split_normalization
from sppkit.errors import MeasurementError, UsageError
from sppkit.inputs.decode import mean_and_std
from sppkit.inputs.labelled import choose_per_class
from sppkit.inputs.labelled_files import class_sizes, load_labelled
from sppkit.measuring.forward.calibrate import is_uncalibrated
from sppkit.measuring.invariance.blocks import BlockMeter
from sppkit.measuring.invariance.own_pictures import call_for_pictures
from sppkit.measuring.invariance.pictures import Pictures, read_normalization
from sppkit.measuring.invariance.tabulate import measure_invariance, tabulate_blocks, tabulate_classes
from sppkit.measuring.own_input import is_function
from sppkit.measuring.own_network import OwnNetwork
from sppkit.measuring.run import choose_device
from sppkit.record.write import versions
from sppkit.streams import STREAM_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from torch import nn

    from sppkit.config.invariance import InvarianceConfig
    from sppkit.config.resolve import Resolved
    from sppkit.inputs.labelled import Labelled
    from sppkit.inputs.shifts.nuisance import Nuisance
    from sppkit.measuring.run import Progress

_PICTURE_AXES = 3


@dataclass(frozen=True)
class InvarianceRun:
    """One row per class, one per block and class, and the record of how they came about."""

    classes: pd.DataFrame
    blocks: pd.DataFrame
    record: dict[str, Any]
    warnings: tuple[str, ...] = ()


def run_invariance(resolved: Resolved, progress: Progress | None = None) -> InvarianceRun:
    """Load the network and the pictures of a configuration, and measure eKLD and signal-to-shift."""
    started = time.perf_counter()
    config = cast("InvarianceConfig", resolved.config)
    device = choose_device(config.device)
    # The pictures are loaded here, with their labels; noise of their shape stands in for them, and is never drawn.
    source = OwnNetwork(replace(resolved, config=replace(config, input="gaussian", mode="train")))
    with source.prepared(config.seed, device, None) as (model, inputs):
        shape = inputs.shape[1:]
        if len(shape) != _PICTURE_AXES:
            raise UsageError(f"{config.model} takes {'x'.join(map(str, shape))}; invariance is measured on pictures.")
        labelled = choose_per_class(_labelled(config, shape), config.per_class, config.seed)
        pictures = _pictures(config, labelled)
        sizes = None if config.train_labels is None else class_sizes(config.train_labels, labelled.names)
        warnings = list(_iter_warnings(source, config, model))
        measure = partial(
            measure_invariance,
            model,
            pictures,
            nuisance=cast("str", config.nuisance),
            draws=config.draws,
            seed=config.seed,
            on_pass=None if progress is None else partial(progress, "measuring"),
        )
        meter = BlockMeter(model, config.sites)
        try:
            responses, nuisance = measure(meter=meter)
        except MeasurementError as error:  # of the network itself, which the next try repeats, or of listening to it
            meter.distances = {}
            responses, nuisance = measure()
            warnings.append(f"the blocks have no numbers: {str(error).splitlines()[0]}")
    classes = tabulate_classes(responses, labelled.labels, sizes)
    blocks = tabulate_blocks(meter, labelled.labels)
    if labelled.names:
        classes["class_name"] = [labelled.names[label] for label in classes["class"]]
    record = _describe(resolved, source, pictures, nuisance, str(device)) | {"result": summarize(classes)}
    record["wall_time_seconds"] = round(time.perf_counter() - started, 3)
    return InvarianceRun(classes, blocks, record, tuple(warnings))


def summarize(classes: pd.DataFrame) -> dict[str, float | None]:
    """Return the means over classes, each class counting alike, and the errors of those that have one.

    With training sizes also Spearman's rank correlation of size and eKLD: -1 where eKLD falls with every step in size.
    """
    result: dict[str, float | None] = {
        name: _finite(classes[name].mean()) for name in ("ekld", "consistency", "confidence", "accuracy")
    }
    for name in ("ekld", "consistency"):
        errors = classes[f"{name}_se"].to_numpy(dtype=float)
        result[f"{name}_se"] = _finite(float(np.sqrt((errors**2).sum())) / len(errors))
    if "train_size" in classes:
        sizes = classes["train_size"].astype(float)
        result["rank_correlation_with_train_size"] = _finite(sizes.rank().corr(classes["ekld"].rank()))
    return result


def _labelled(config: InvarianceConfig, shape: tuple[int, ...]) -> Labelled:
    if not is_function(config.input):
        return load_labelled(config.input, config.labels, shape=shape)
    if config.labels is not None:
        raise UsageError(f"--labels means nothing beside --input {config.input}, which returns pictures and labels.")
    return call_for_pictures(config.input, config.seed)


def _pictures(config: InvarianceConfig, labelled: Labelled) -> Pictures:
    folder = bool(labelled.names)
    chosen = config.normalize or ("imagenet" if folder else "none")
    channels = labelled.shape[0]
    given: object = None
    if chosen == "imagenet":
        given = mean_and_std(channels)
    elif chosen != "none":
        given = split_normalization(chosen)
    return Pictures(labelled, read_normalization(given, channels), config.batch_size, getattr(torch, config.dtype))


def _iter_warnings(source: OwnNetwork, config: InvarianceConfig, model: nn.Module) -> Iterator[str]:
    yield from source.iter_warnings()
    if config.checkpoint is None and any(map(is_uncalibrated, model.modules())):
        yield (
            "the running statistics of this network are still at their initial 0 and 1, as if it had never been "
            "trained; give its weights as --checkpoint FILE."
        )


def _describe(
    resolved: Resolved, source: OwnNetwork, pictures: Pictures, nuisance: Nuisance, device: str
) -> dict[str, Any]:
    config = cast("InvarianceConfig", resolved.config)
    labelled, normalization = pictures.labelled, pictures.normalization
    return {
        "kind": "invariance",
        **source.describe(),
        "input": {
            **(labelled.description or {}),
            "batch_shape": [min(config.batch_size, len(labelled)), *labelled.shape],
            "batches": pictures.batches,
            "samples_used": len(labelled),
            "classes": list(labelled.names),
            "normalized": {"mean": list(normalization.mean), "std": list(normalization.deviation)},
        },
        "nuisance": {
            "name": nuisance.text,
            "draws": config.draws,
            "where": "before normalization, values in [0, 1]",
            "stream": f"{STREAM_NAME}, nuisance/{nuisance.name}/<draw>/<picture>",
        },
        "mode": "eval",
        "seeds": [config.seed],
        "device": device,
        "dtype": config.dtype,
        "threads": torch.get_num_threads(),
        "random_stream": STREAM_NAME,
        "versions": versions(),
        "options": {name: entry for name, entry in resolved.described().items() if name in INVARIANCE_OPTIONS},
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
