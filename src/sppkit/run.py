"""A configured run: options -> network -> inputs -> measurement, once per seed, and the record of it all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import torch

from sppkit.errors import MeasurementError, UsageError
from sppkit.inputs.gaussian import draw_batch
from sppkit.inputs.load import load_inputs
from sppkit.measurement import Probe, run_probe
from sppkit.models.build import build_from_spec, lay_out
from sppkit.models.memory import available_bytes, check_fits, count_parameters, needed_bytes
from sppkit.models.places import INPUT_CHANNELS
from sppkit.models.spec import build_spec, describe
from sppkit.models.streaming import streamed
from sppkit.prediction import borderless_residual_variance, with_predictions
from sppkit.record import versions
from sppkit.streams import STREAM_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sppkit.config import Resolved, RunConfig
    from sppkit.inputs.batches import Inputs
    from sppkit.models.resnet import PreActivationResNet
    from sppkit.models.spec import ModelSpec
    from sppkit.probe.forward import Mode
    from sppkit.sites import Site

    # Called with what is being done, how much of it is done, and how much there is.
    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Run:
    """The table of all seeds and the record of how it came about."""

    table: pd.DataFrame
    record: dict[str, Any]
    warnings: tuple[str, ...] = ()


def run(resolved: Resolved, progress: Progress | None = None) -> Run:
    """Build, feed and measure the network of a configuration, once per seed.

    Args:
        resolved: The checked configuration.
        progress: Called as the work goes on.

    Returns:
        The table and its record.

    Raises:
        UsageError: If an option can't be used.
        DoesNotFitError: If the network would not fit into memory.
        MeasurementError: If the forward pass fails.
    """
    config = resolved.config
    started = time.perf_counter()
    spec = build_spec(config.arch, resolved.given())
    device = choose_device(config.device)
    # Before minutes of work, not behind them: it refuses a gain that overflows.
    expected = {"residual_variance": borderless_residual_variance(spec)}
    tables = []
    for seed in _seeds(config):
        inputs = _load_inputs(config, seed)
        streaming = _decide_streaming(spec, config, inputs)
        measure_seed = _measure_streamed if streaming else _measure_whole
        tables.append(measure_seed(spec, config, inputs, seed, device, progress))
    record = _describe_run(resolved, spec, inputs, device) | {"expected": expected, "streamed": streaming}
    table, record["theory"] = with_predictions(pd.concat(tables, ignore_index=True), resolved, inputs.description)
    record["wall_time_seconds"] = round(time.perf_counter() - started, 3)
    return Run(table, record, tuple(_iter_warnings(spec, config, inputs, streaming)))


def choose_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The device.

    Raises:
        UsageError: If this machine or this torch has no such device.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [device for device, available in found.items() if available]
    if name == "auto":
        return torch.device(usable[0])
    if name not in usable:
        raise UsageError(
            f"--device {name}: torch {torch.__version__} finds no such device here; usable: {', '.join(usable)}."
        )
    return torch.device(name)


def _decide_streaming(spec: ModelSpec, config: RunConfig, inputs: Inputs) -> bool:
    itemsize = getattr(torch, config.dtype).itemsize
    streaming = config.streaming == "on"
    if config.streaming == "auto":
        streaming = sum(needed_bytes(spec, inputs.shape, itemsize=itemsize)) > available_bytes()
    check_fits(spec, inputs.shape, itemsize=itemsize, streamed=streaming)
    return streaming


def _measure_whole(
    spec: ModelSpec, config: RunConfig, inputs: Inputs, seed: int, device: torch.device, progress: Progress | None
) -> pd.DataFrame:
    on_drawn = None if progress is None else partial(progress, _task("drawing weights", config, seed))
    model = build_from_spec(spec, seed=seed, on_drawn=on_drawn)
    model.to(device, getattr(torch, config.dtype))
    return _measure_model(model, config, inputs, seed, device, progress)


def _measure_streamed(
    spec: ModelSpec, config: RunConfig, inputs: Inputs, seed: int, device: torch.device, progress: Progress | None
) -> pd.DataFrame:
    model = lay_out(spec)
    with streamed(model, seed, device, getattr(torch, config.dtype)):
        return _measure_model(model, config, inputs, seed, device, progress)


def _measure_model(
    model: PreActivationResNet,
    config: RunConfig,
    inputs: Inputs,
    seed: int,
    device: torch.device,
    progress: Progress | None,
) -> pd.DataFrame:
    dtype = getattr(torch, config.dtype)
    batches = cast("int", inputs.description["batches"])
    count = _counter(progress, _task("measuring", config, seed), (1 + sum(model.spec.stages)) * batches)

    def on_site(site: Site) -> None:
        # A block is done when its output is there; its branch was reached before.
        count(site.role == "block_output")

    probe = Probe(model, stats=config.stats, seed=seed, on_site=on_site, single=batches == 1)
    try:
        return run_probe(
            probe,
            model,
            (batch.to(dtype) for batch in inputs.batches()),
            device=device,
            mode=cast("Mode", config.mode),
            seed=seed,
            warmup=(batch.to(dtype) for batch in _iter_warmup(config, inputs, seed)),
        )
    except MeasurementError as error:
        shape = "×".join(map(str, inputs.shape))
        raise MeasurementError(f"{error}\nThe input was {shape}; try a larger --image-size or --batch-size.") from error


def _load_inputs(config: RunConfig, seed: int) -> Inputs:
    shape = config.shape or (INPUT_CHANNELS, config.image_size, config.image_size)
    if len(shape) != 3 or shape[0] != INPUT_CHANNELS:
        raise UsageError(
            f"--shape must be {INPUT_CHANNELS},height,width for {config.arch}, not {','.join(map(str, shape))}."
        )
    return load_inputs(config.input, shape=shape, batch_size=config.batch_size, batches=config.batches, seed=seed)


def _iter_warmup(config: RunConfig, inputs: Inputs, seed: int) -> Iterator[torch.Tensor]:
    if config.warmup == 0:
        return iter(())
    if config.input == "gaussian":
        # Fresh draws: the batches behind the measured ones.
        later = range(config.batches, config.batches + config.warmup)
        return (draw_batch(inputs.shape, seed, batch) for batch in later)
    return islice(cycle(inputs.batches()), config.warmup)


def _seeds(config: RunConfig) -> range:
    return range(config.seed, config.seed + config.seeds)


def _iter_warnings(spec: ModelSpec, config: RunConfig, inputs: Inputs, streaming: bool) -> Iterator[str]:
    if streaming and config.streaming == "auto":
        yield "the weights do not fit into the free memory together, so one block's were held at a time."
    if config.mode == "eval" and config.warmup == 0 and spec.norm != "none":
        yield "eval mode uses running statistics, and these are still at their initial 0 and 1; add --warmup 50."
    used, asked = cast("int", inputs.description["samples_used"]), config.batch_size * config.batches
    if used < asked:
        yield f"{config.input} holds {used} samples; {asked} were asked for, and all of them are used."


def _task(name: str, config: RunConfig, seed: int) -> str:
    return name if config.seeds == 1 else f"{name}, seed {seed}"


def _counter(progress: Progress | None, task: str, total: int) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(task, done, total)

    return count


def _describe_run(resolved: Resolved, spec: ModelSpec, inputs: Inputs, device: torch.device) -> dict[str, Any]:
    config = resolved.config
    return {
        "arch": config.arch,
        "network": describe(spec) | {"blocks": sum(spec.stages), "parameters": count_parameters(spec)},
        "input": inputs.description,
        "mode": config.mode,
        "warmup": config.warmup,
        "seeds": list(_seeds(config)),
        "device": str(device) if device.type != "cuda" else f"{device} ({torch.cuda.get_device_name(device)})",
        "dtype": config.dtype,
        "threads": torch.get_num_threads(),
        "random_stream": STREAM_NAME,
        "versions": versions(),
        "options": resolved.described(),
    }
