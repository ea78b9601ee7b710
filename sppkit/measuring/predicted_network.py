"""Theory's curves for any network: one observed forward pass, followed as steps, and the rows that they give."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from sppkit.errors import UsageError
from sppkit.inputs.call import Call
from sppkit.joins.corrections import correct, load_corrections
from sppkit.joins.operands import iter_tensors
from sppkit.lowering.build import Builder
from sppkit.lowering.curves import COLUMNS, Kept, follow, keep
from sppkit.lowering.explain import explain
from sppkit.lowering.trace import Tracer
from sppkit.lowering.values import Batch, TooManyPositionsError
from sppkit.machine.printable import printable
from sppkit.measuring.declared_sites import as_network, declared_sites
from sppkit.measuring.find import Finder
from sppkit.measuring.forward.device import check_values
from sppkit.measuring.forward.full_precision import full_float32
from sppkit.measuring.forward.preserve import preserved
from sppkit.measuring.forward.random_state import seed_torch
from sppkit.measuring.forward.run_model import call_model, check_mode, explain_failure, iter_batches, reached, set_mode
from sppkit.measuring.listen import Listener
from sppkit.record.table import build_table
from sppkit.sites import DeclaresSites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pandas as pd
    from torch import nn

    from sppkit.measuring.forward.run_model import Mode
    from sppkit.sites import Site

# Positions of all samples that are held, of which every pair has a number: 144 MB of them.
_LARGEST = 4300
# Above so many, some of the samples stand for all of them: they would take minutes.
_QUICK = 2100


def predict_network(
    model: nn.Module,
    inputs: object,
    *,
    mode: Mode | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    sites: str | Path | Mapping[str, Any] | None = None,
    explains: bool = False,
) -> pd.DataFrame:
    """Predict the curves of a network; see ``predict`` of ``sppkit.measuring.expect``."""
    check_mode(mode)
    check_values(model)
    batch = _one_batch(inputs)
    samples = _samples(batch)
    held = samples
    while True:
        state = Batch(held, samples, _QUICK if held > 2 else _LARGEST)
        try:
            return _predict(model, _first(batch, held, samples), state, mode, seed, device, sites, explains=explains)
        except TooManyPositionsError as error:
            fewer = max(2, held * _QUICK // error.positions)
            if held <= 2 or fewer >= held:
                raise UsageError(
                    f"theory holds a number for every two positions, and two samples of {type(model).__name__} have "
                    f"{error.positions:,} of them; up to {_LARGEST:,} fit. Take smaller inputs."
                ) from None
            held = fewer


def _one_batch(inputs: object) -> Call:
    batches = iter_batches(inputs)
    batch = next(batches, None)
    if batch is None:
        raise UsageError("there is no batch to predict from: the inputs are empty.")
    if next(batches, None) is not None:
        raise UsageError("theory takes one batch, and the inputs are several: give it the first one.")
    if isinstance(batch, Call):
        return batch
    if isinstance(batch, (tuple, list)):
        batch = batch[0]
    return Call(batch) if isinstance(batch, torch.Tensor) else Call.by_name(batch)  # type: ignore[arg-type]


def _samples(batch: Call) -> int:
    tensors = [item for item in iter_tensors((batch.arguments, batch.keywords)) if item.ndim > 0]
    if not tensors:
        raise UsageError("the batch holds no tensor with samples: there is nothing to predict from.")
    return max(tensors, key=lambda item: item.ndim).shape[0]


def _first(batch: Call, held: int, samples: int) -> Call:
    def cut(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[:held] if tensor.ndim > 0 and tensor.shape[0] == samples else tensor

    return batch.mapped(cut)


def _predict(
    model: nn.Module,
    batch: Call,
    state: Batch,
    mode: Mode | None,
    seed: int,
    device: str | torch.device | None,
    sites: object,
    *,
    explains: bool,
) -> pd.DataFrame:
    where: list[str] = [type(model).__name__]
    state.module = lambda: where[-1]
    tracer = Tracer(Builder(state))
    listener = _listener(model, partial(keep, tracer), sites)
    tracer.follows = lambda: not listener.discovers
    target = torch.device(device) if device is not None else _home(model)
    with ExitStack() as stack:
        stack.enter_context(preserved(model, attributes=True))
        stack.enter_context(full_float32())
        stack.enter_context(torch.no_grad())
        if device is not None:
            model.to(target)
        seed_torch(seed)
        set_mode(model, mode)
        for handle in _iter_hooks(model, where, tracer):
            stack.callback(handle.remove)
        stack.enter_context(listener)
        _call(model, batch, target, tracer, listener)
    listener.check_complete()
    table = _tabulate(model, tracer, listener, seed)
    if explains:
        kept = {site: heard.value for site, heard in listener.heard.items()}
        table.attrs["parts"] = explain(tracer.builder.program, kept)
    return table


def _call(model: nn.Module, batch: Call, target: torch.device, tracer: Tracer, listener: Listener[Kept]) -> None:
    try:
        with tracer:
            call_model(model, batch, target)
    except TooManyPositionsError:
        raise
    except Exception as error:  # whatever a model raises
        raise explain_failure(error, reached(listener.last)) from error


def _listener(model: nn.Module, reduce: Callable[[Site, torch.Tensor], Kept], sites: object) -> Any:
    corrections = None if sites is None else load_corrections(sites)
    if corrections is None and isinstance(as_network(model), DeclaresSites):
        return Listener(model, declared_sites(model), reduce, _refuse_merging)
    return Finder(model, [], reduce, _refuse_merging, correct=partial(correct, corrections=corrections or ()))


def _refuse_merging(_first: Kept, _second: Kept) -> Kept:
    raise UsageError("theory follows one forward pass, and the model was called several times.")


def _home(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _iter_hooks(model: nn.Module, where: list[str], tracer: Tracer) -> Iterator[Any]:
    """Keep track of which module is being called, and of what the model is called with."""
    for path, module in model.named_modules():
        if path:
            yield module.register_forward_pre_hook(partial(_enter, where, path))
            yield module.register_forward_hook(partial(_leave, where), always_call=True)
    yield model.register_forward_pre_hook(lambda _model, args, kwargs: tracer.start((args, kwargs)), with_kwargs=True)


def _enter(where: list[str], path: str, _module: nn.Module, _inputs: object) -> None:
    where.append(path)


def _leave(where: list[str], _module: nn.Module, _inputs: object, _output: object) -> None:
    if len(where) > 1:
        where.pop()


def _tabulate(model: nn.Module, tracer: Tracer, listener: Any, seed: int) -> pd.DataFrame:
    kept = {site: heard.value for site, heard in listener.heard.items()}
    found, end = follow(tracer, kept)
    if end is not None and not any(cells for site, cells in found.items() if site.block > 0):
        raise UsageError(f"theory has no prediction for {type(model).__name__}: {end}.")
    blocks: dict[int, dict[str, Any]] = {}
    for site, heard in listener.heard.items():
        row = blocks.setdefault(site.block, {"seed": seed, "block": site.block} | dict.fromkeys(COLUMNS))
        row |= found[site]
        if site.role == "block_output":
            _samples, channels, *space = heard.shape
            row |= {"stage": site.stage, "name": printable(site.name), "channels": channels}
            row |= {"height": space[-2] if len(space) > 1 else next(iter(space), None)}
            row |= {"width": space[-1] if len(space) > 1 else None}
    table = build_table(blocks.values())
    table.attrs["theory"] = {"predicted": True} | ({} if end is None else {"reason": end})
    return table
