"""A configured run: options -> source -> network and inputs -> measurement, once per seed, and the record of it all."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pandas as pd
import torch
from torch.utils._pytree import tree_map_only

from sppkit.errors import MeasurementError, UsageError
from sppkit.inputs.call import Call
from sppkit.joins.corrections import load_corrections
from sppkit.machine.allocator import only_new_garbage
from sppkit.measuring.backward.notices import iter_gradient_notices
from sppkit.measuring.choose_source import choose_source
from sppkit.measuring.digest_weights import digest_weights, merge_digests
from sppkit.measuring.measure import find_joins, look_ahead, run_probe
from sppkit.measuring.other_way import OtherWayError, WaysDifferError
from sppkit.measuring.output import Output
from sppkit.measuring.probe import Probe
from sppkit.models.addons.crossnorm import can_crop
from sppkit.models.addons.settings import on_images, read_add_on_settings
from sppkit.prediction.predict import with_predictions
from sppkit.record.source_lines import locate_blocks, name_classes
from sppkit.record.table import OUTPUT, UNREGISTERED, further_statistics, is_measured, why_empty
from sppkit.record.write import versions
from sppkit.registry import GRADIENT_STATISTICS
from sppkit.streams import STREAM_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from sppkit.config.options import RunConfig
    from sppkit.config.resolve import Resolved
    from sppkit.inputs.batches import Inputs
    from sppkit.joins.joins import Findings
    from sppkit.measuring.forward.run_model import Mode
    from sppkit.measuring.source import Source
    from sppkit.sites import Site

    # Called with what is being done, how much of it is done, and how much there is (0 where that is not known).
    Progress = Callable[[str, int, int], None]
    # Changes a network in place before it is measured.
    Treatment = Callable[[nn.Module], object]


@dataclass(frozen=True)
class Run:
    """The table of all seeds and the record of how it came about."""

    table: pd.DataFrame
    record: dict[str, Any]
    warnings: tuple[str, ...] = ()


class _Measured(NamedTuple):
    table: pd.DataFrame
    inputs: Inputs
    # What was found in a network that does not declare its blocks.
    findings: Findings | None
    # The same, where nothing was corrected.
    uncorrected: Findings | None
    # File and line of the user's class behind each row.
    sources: dict[str, tuple[str, int]]
    # Its class, and where its branch and its skip were found, of each row of a user's network.
    classes: dict[str, str]
    joins: dict[str, str]
    # What tells its weights from another network's; empty where their streams have names.
    weights: dict[str, str]
    # Why there is no gradient where one was asked for.
    no_gradient: str | None
    # Of a network of the user's: what it returns, as numbers.
    output: dict[str, Any]


def run(resolved: Resolved, progress: Progress | None = None, treat: Treatment | None = None) -> Run:
    """Build, treat, feed and measure the network of a configuration, once per seed."""
    started = time.perf_counter()
    device = choose_device(resolved.config.device)
    source = choose_source(resolved)
    resolved = source.resolved
    if resolved.config.sites is not None:
        load_corrections(resolved.config.sites)  # before minutes of work, not after them
    with only_new_garbage():
        seeds: list[_Measured] = []
        for seed in seeds_of(resolved.config):
            once = partial(_measure_once, source, resolved.config, seed, device, progress, treat)
            seeds.append(_measure_seed(once, seeds[-1].uncorrected if seeds else None))
    tables, inputs, found = [seed.table for seed in seeds], seeds[-1].inputs, seeds[-1].findings
    record = describe_run(resolved, source, inputs, device) | {"found": None if found is None else found.summary}
    if seeds[-1].sources:
        record["sources"] = {name: list(place) for name, place in seeds[-1].sources.items()}
    record |= {key: value for key in ("classes", "joins") if (value := getattr(seeds[-1], key))}
    if set(resolved.config.stats) & set(GRADIENT_STATISTICS):
        record["gradient"] = {"cotangent": "N(0, 1), stream cotangent/<batch>", "absent": seeds[-1].no_gradient}
    if found is not None and found.unregistered:
        record[UNREGISTERED] = [list(each) for each in found.unregistered]
    weights = merge_digests([seed.weights for seed in seeds])
    if weights:
        record["weights"] = weights
    if all(seed.output for seed in seeds):
        record[OUTPUT] = _merge_outputs([seed.output for seed in seeds])
    table, record["theory"] = with_predictions(pd.concat(tables, ignore_index=True), resolved, inputs.description)
    record["wall_time_seconds"] = round(time.perf_counter() - started, 3)
    return Run(table, record, tuple(_iter_warnings(source, resolved.config, seeds[-1], table)))


def _merge_outputs(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the numbers of every seed in lists, and what all have in common."""
    numbers = [name for name, value in outputs[0].items() if isinstance(value, float)]
    return outputs[-1] | {name: [output[name] for output in outputs] for name in numbers}


def find(resolved: Resolved) -> Findings:
    """Run the network of a configuration on one batch, only to find its residual joins."""
    config = resolved.config
    source, device = choose_source(resolved), choose_device(config.device)
    with source.prepared(config.seed, device, None) as (model, inputs):
        batch = cast_batch(next(iter(inputs.batches())), getattr(torch, config.dtype))
        mode = cast("Mode", config.mode)
        return find_joins(model, [batch], mode=mode, seed=config.seed, sites=config.sites or "found")


def choose_device(name: str) -> torch.device:
    """Return the device of a name."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [device for device, available in found.items() if available]
    if name == "auto":
        return torch.device(usable[0])
    if name not in usable:
        raise UsageError(
            f"--device {name}: torch {torch.__version__} finds no such device here; usable: {', '.join(usable)}."
        )
    return torch.device(name)


class _Look(NamedTuple):
    """How the joins of a network are found.

    Attributes:
        known: What another seed's had.
        trusts: Whether that, or what a few samples show, is taken for granted.
        ahead: Whether every pass is looked at before it is measured.
    """

    known: Findings | None = None
    trusts: bool = False
    ahead: bool = False


def _measure_seed(once: Callable[[_Look], _Measured], known: Findings | None) -> _Measured:
    try:
        with suppress(OtherWayError):  # layers that are dropped at random, experts that few samples do not ask
            return once(_Look(known, trusts=True))
        gc.collect()
        return once(_Look())
    except WaysDifferError:  # or dropped in one pass and not in the next
        gc.collect()
        return once(_Look(ahead=True))


def _measure_once(
    source: Source,
    config: RunConfig,
    seed: int,
    device: torch.device,
    progress: Progress | None,
    treat: Treatment | None,
    look: _Look,
) -> _Measured:
    # A function of its own, so that one seed's network is gone before the next one's is built.
    on_drawn = None if progress is None else partial(progress, task_name("drawing weights", config, seed))
    with source.prepared(seed, device, on_drawn) as (model, inputs):
        if treat is not None:
            treat(model)
        measured = _measure_network(source, model, config, inputs, seed, device, progress, look)
    del model, inputs
    gc.collect()  # a probe and what it hooks refer to each other, and hold the network
    return measured


def _measure_network(
    source: Source,
    model: nn.Module,
    config: RunConfig,
    inputs: Inputs,
    seed: int,
    device: torch.device,
    progress: Progress | None,
    look: _Look,
) -> _Measured:
    weights = {} if config.model is None else digest_weights(model)
    batches = cast("int", inputs.description["batches"])
    count = counter(progress, task_name("measuring", config, seed), (source.blocks or 0) * batches)

    def on_site(site: Site) -> None:
        # A block is done when its output is there; its branch was reached before.
        count(site.role == "block_output")

    probe = Probe(model, stats=config.stats, seed=seed, on_site=on_site, single=batches == 1, sites=config.sites)
    output = Output()
    try:
        table = _listen(probe, model, config, inputs, seed, device, look, None if config.model is None else output.add)
    except (OtherWayError, WaysDifferError):
        raise
    except MeasurementError as error:
        shape = "×".join(map(str, inputs.shape))
        raise MeasurementError(f"{error}\n{source.explain(shape)}") from error
    # Every seed has the same classes, and a named architecture none of the user's.
    users = config.model is not None and seed == seeds_of(config)[-1]
    sources = locate_blocks(model, table["name"], own=True) if users else {}
    classes = name_classes(model, table["name"]) if users else {}
    joins = {join.name: join.described for join in probe.findings.joins} if users and probe.findings else {}
    return _Measured(
        table, inputs, probe.findings, probe.found, sources, classes, joins, weights, _reason(probe), output.described()
    )


def _listen(
    probe: Probe,
    model: nn.Module,
    config: RunConfig,
    inputs: Inputs,
    seed: int,
    device: torch.device,
    look: _Look,
    on_output: Callable[[object], None] | None,
) -> pd.DataFrame:
    cast_one = partial(cast_batch, dtype=getattr(torch, config.dtype))

    def feed() -> dict[str, Any]:
        batches, warmup = map(cast_one, inputs.batches()), map(cast_one, inputs.warmup(config.warmup))
        fixed = {"device": device, "mode": config.mode, "seed": seed}
        return {"batches": batches, "warmup": warmup} | fixed

    if look.trusts:
        probe.trust(look.known)
    if look.ahead:
        ahead = Probe(model, stats=config.stats, sites=config.sites)
        look_ahead(ahead, model, **feed())
        probe.follow(ahead)
    return run_probe(probe, model, **feed(), on_output=on_output)


def _reason(probe: Probe) -> str | None:
    return None if probe.gradients is None else probe.gradients.reason


def cast_batch(batch: Any, dtype: torch.dtype) -> Any:
    """Return a batch in a run's type."""
    cast_one = partial(_cast_tensor, dtype=dtype)
    if isinstance(batch, Call):
        return batch.mapped(cast_one)
    return tree_map_only(torch.Tensor, cast_one, dict(batch) if isinstance(batch, Mapping) else batch)


def _cast_tensor(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    # Tokens stay whole numbers.
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def seeds_of(config: RunConfig) -> range:
    """Return the seeds of a run."""
    return range(config.seed, config.seed + config.seeds)


def _iter_warnings(source: Source, config: RunConfig, seed: _Measured, table: pd.DataFrame) -> Iterator[str]:
    yield from source.iter_warnings()
    yield from iter_gradient_notices(table, seed.no_gradient, getattr(torch, config.dtype))
    explained = GRADIENT_STATISTICS if seed.no_gradient is not None else ()
    for name in further_statistics(table):
        if name not in explained and not is_measured(table, name):
            yield f"{name} is empty: there are {why_empty(name)} in the blocks of this network."
    yield from _iter_crop_notes(config, table)
    inputs = seed.inputs
    used, asked = cast("int", inputs.description["samples_used"]), config.batch_size * config.batches
    if used < asked and inputs.description["samples_available"] is not None:
        yield f"{config.input} holds {used} samples; {asked} were asked for, and all of them are used."


def _iter_crop_notes(config: RunConfig, table: pd.DataFrame) -> Iterator[str]:
    if config.model is not None or config.add_on is None:
        return
    crop = read_add_on_settings(config.add_on, config.add_on_kw).get("crossnorm", {}).get("crop", "neither")
    maps = table[["height", "width"]].dropna().min()
    if crop == "neither" or on_images(config.add_on):
        return
    if not can_crop(int(maps["height"]), int(maps["width"])):
        yield "CrossNorm swaps nothing on maps below 3×3, which can't be cropped; take a larger --image-size."


def task_name(name: str, config: RunConfig, seed: int) -> str:
    """Return what is being done, as progress shows it."""
    return name if config.seeds == 1 else f"{name}, seed {seed}"


def counter(progress: Progress | None, task: str, total: int) -> Callable[[int], None]:
    """Return what counts the blocks that are done."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(task, done, total)

    return count


def describe_run(resolved: Resolved, source: Source, inputs: Inputs, device: torch.device) -> dict[str, Any]:
    """Return the record of a run, without what was measured."""
    config = resolved.config
    return {
        **source.describe(),
        "input": inputs.description,
        "mode": config.mode,
        "warmup": config.warmup,
        "seeds": list(seeds_of(config)),
        "device": str(device) if device.type != "cuda" else f"{device} ({torch.cuda.get_device_name(device)})",
        "dtype": config.dtype,
        "threads": torch.get_num_threads(),
        "random_stream": STREAM_NAME,
        "versions": versions(),
        "options": resolved.described(),
    }
