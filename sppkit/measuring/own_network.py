"""The user's own network as something to measure."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sppkit.errors import MeasurementError, UsageError
from sppkit.inputs.keywords import Beside, by_keyword
from sppkit.inputs.load import load_inputs
from sppkit.machine.error_text import short_reason
from sppkit.machine.user_code import FILE_PREFIX
from sppkit.measuring.forward.calibrate import is_uncalibrated
from sppkit.measuring.forward.device import check_values
from sppkit.measuring.forward.random_state import seeded
from sppkit.measuring.own_input import is_function, load_function
from sppkit.measuring.reinitialize import make_keyed
from sppkit.models.loading.checkpoint import read_checkpoint
from sppkit.models.loading.form import InputForm
from sppkit.models.loading.infer import check_arguments, choose_form, infer_form
from sppkit.models.loading.load import library_version, load_recipe
from sppkit.models.loading.reference import parse_reference
from sppkit.models.loading.transfer import load_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.config.resolve import Resolved
    from sppkit.inputs.batches import Inputs
    from sppkit.measuring.source import OnDrawn
    from sppkit.models.loading.checkpoint import Checkpoint


class OwnNetwork:
    """What ``--model`` names: made anew under each seed, or once where its weights come from a checkpoint."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        self._config = resolved.config
        self._given = {name for name, source in resolved.sources.items() if source != "default"}
        self._reference = parse_reference(resolved.config.model or "")
        file = resolved.config.checkpoint
        self._checkpoint = None if file is None else read_checkpoint(file)
        with seeded(resolved.config.seed):  # importing the user's code runs it, and may draw
            self._recipe = load_recipe(self._reference, resolved.config.kw or {})
        self._trained: nn.Module | None = None
        self._described: dict[str, Any] = {}
        self._notes: list[str] = []

    @property
    def blocks(self) -> None:
        """Not known: measuring tells."""
        return

    @contextmanager
    def prepared(self, seed: int, device: torch.device, on_drawn: OnDrawn) -> Iterator[tuple[nn.Module, Inputs]]:  # noqa: ARG002
        """Make the network and its inputs."""
        model = self._make(seed) if self._checkpoint is None else self._load(self._checkpoint)
        check_values(model)
        self._describe(model)
        form = self._form(model)
        try:
            model.to(device, getattr(torch, self._config.dtype))
        except Exception as error:  # whatever a device or a network's own ``to`` raises
            raise MeasurementError(
                f"{self._reference.text} can't be moved to {device}: {short_reason(error)}"
            ) from error
        yield model, self._load_inputs(form, seed)

    def describe(self) -> dict[str, Any]:
        """Return what a record says of the network."""
        return {
            "model": {"spec": self._reference.text, "kw": self._config.kw or {}, **self._described},
            "checkpoint": None if self._checkpoint is None else self._checkpoint.describe(),
            "reinit": self._config.reinit,
            "expected": {},
            "streamed": False,
        }

    def iter_warnings(self) -> Iterator[str]:
        """Yield what the user should know."""
        yield from self._notes

    def explain(self, shape: str) -> str:
        """Return what to try where the forward pass failed."""
        told = "" if "shape" in self._given else f", from {self._described['input_from']}"
        return f"The input was {shape}{told}; another one is given as --shape."

    def _make(self, seed: int) -> nn.Module:
        with seeded(seed):
            if self._config.reinit is None:
                model = self._recipe.make()
            else:
                model, self._notes = make_keyed(self._recipe.make, seed)
        self._notes = [*self._notes, *_iter_uncalibrated(model, self._config.mode, self._config.warmup)]
        return model

    def _load(self, checkpoint: Checkpoint) -> nn.Module:
        if self._trained is None:
            with seeded(self._config.seed):
                self._trained = self._recipe.make()
            self._notes = load_weights(self._trained, checkpoint)
        return self._trained

    def _form(self, model: nn.Module) -> InputForm:
        if is_function(self._config.input):
            self._refuse_beside_function()
            self._described["input_from"] = self._config.input
            return InputForm(None, self._config.input)
        told = infer_form(model, image_size=self._recipe.image_size or self._config.image_size)
        form = choose_form(told, self._config, self._given, self._reference.text)
        check_arguments(model, form, self._reference.text)
        self._described["input_from"] = form.origin
        return form

    def _refuse_beside_function(self) -> None:
        for name in ("shape", "vocab", "image_size", "shift"):
            if name in self._given:
                raise UsageError(f"--{name.replace('_', '-')} means nothing beside --input {self._config.input}.")

    def _describe(self, model: nn.Module) -> None:
        kind = type(model)
        self._described = {
            "class": f"{kind.__module__.removeprefix(FILE_PREFIX)}.{kind.__qualname__}",
            "library": library_version(self._reference),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }

    def _load_inputs(self, form: InputForm, seed: int) -> Inputs:
        config = self._config
        if is_function(config.input):
            return load_function(config, seed)
        inputs = load_inputs(
            "tokens" if form.vocab is not None and config.input == "gaussian" else config.input,
            shape=form.shape or (),
            batch_size=config.batch_size,
            batches=config.batches,
            seed=seed,
            vocab=form.vocab,
            shift=config.shift,
        )
        inputs = replace(inputs, description=inputs.description | {"shape_from": form.origin})
        if form.keyword is None:
            return inputs
        beside = [Beside(item.keyword or "", item.shape or (), item.vocab) for item in form.others]
        return by_keyword(inputs, form.keyword, beside, seed)


def _iter_uncalibrated(model: nn.Module, mode: str, warmup: int) -> Iterator[str]:
    if mode == "eval" and warmup == 0 and any(map(is_uncalibrated, model.modules())):
        yield (
            "eval mode uses running statistics, and these are still at their initial 0 and 1; add --warmup 50, or give "
            "a --checkpoint."
        )
