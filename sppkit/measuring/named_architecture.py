"""A named architecture as something to measure."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from sppkit.errors import UsageError
from sppkit.inputs.load import load_inputs
from sppkit.models.build import build_from_spec, lay_out
from sppkit.models.loading.checkpoint import read_checkpoint
from sppkit.models.loading.transfer import load_weights
from sppkit.models.memory import available_bytes, check_fits, count_parameters, needed_bytes
from sppkit.models.normalizers.settings import groups_note
from sppkit.models.places import INPUT_CHANNELS
from sppkit.models.spec import build_spec, describe
from sppkit.models.streaming import streamed
from sppkit.prediction.predict import borderless_residual_variance
from sppkit.registry import GRADIENT_STATISTICS, normalizer_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from sppkit.config.resolve import Resolved
    from sppkit.inputs.batches import Inputs
    from sppkit.measuring.source import OnDrawn
    from sppkit.models.spec import ModelSpec


class NamedArchitecture:
    """A network of ours, with keyed weights or those of a checkpoint."""

    def __init__(self, resolved: Resolved) -> None:
        self.spec = build_spec(resolved.config.arch, resolved.given())
        self.resolved = _with_warmup(resolved, self.spec)
        self._config = self.resolved.config
        file = resolved.config.checkpoint
        self._checkpoint = None if file is None else read_checkpoint(file)
        # Before minutes of work, not after them: it refuses a gain that overflows. Trained weights follow no theory.
        self._expected = borderless_residual_variance(self.spec) if file is None else None
        self._streamed = False
        self._notes: list[str] = []

    @property
    def blocks(self) -> int:
        """Number of rows of one seed: the stem and the blocks."""
        return 1 + sum(self.spec.stages)

    @contextmanager
    def prepared(self, seed: int, device: torch.device, on_drawn: OnDrawn) -> Iterator[tuple[nn.Module, Inputs]]:
        """Build the network, whole or one block at a time, and its inputs."""
        inputs = self._load_inputs(seed)
        dtype = getattr(torch, self._config.dtype)
        self._streamed = self._decide_streaming(inputs)
        if self._streamed:
            model = lay_out(self.spec)
            with streamed(model, seed, device, dtype, differentiated=self._differentiated):
                yield model, inputs
        else:
            model = build_from_spec(self.spec, seed=seed, on_drawn=on_drawn)
            if self._checkpoint is not None:
                self._notes = load_weights(model, self._checkpoint)
            yield model.to(device, dtype), inputs

    def describe(self) -> dict[str, Any]:
        """Return what a record says of the network."""
        return {
            "arch": self.spec.arch,
            "network": describe(self.spec) | {"blocks": self.blocks - 1, "parameters": count_parameters(self.spec)},
            "checkpoint": None if self._checkpoint is None else self._checkpoint.describe(),
            "expected": {"residual_variance": self._expected},
            "streamed": self._streamed,
        }

    def iter_warnings(self) -> Iterator[str]:
        """Yield what the user should know."""
        yield from self._notes
        if self._streamed and self._config.streaming == "auto":
            yield "the weights do not fit into the free memory together, so one block's were held at a time."
        uncalibrated = (
            self._checkpoint is None and self._config.warmup == 0 and normalizer_facts(self.spec.norm).running
        )
        if self._config.mode == "eval" and uncalibrated:
            yield "eval mode uses running statistics, and these are still at their initial 0 and 1; add --warmup 50."
        note = groups_note(self.spec.norm, self.spec.norm_kw, self.spec.stem_channels)
        if note is not None:
            yield note

    def explain(self, shape: str) -> str:
        """Return what to try where the forward pass failed."""
        return f"The input was {shape}; try a larger --image-size or --batch-size."

    def _load_inputs(self, seed: int) -> Inputs:
        config = self._config
        shape = config.shape or (INPUT_CHANNELS, config.image_size, config.image_size)
        if isinstance(shape, dict) or len(shape) != 3 or shape[0] != INPUT_CHANNELS:
            raise UsageError(
                f"--shape must be {INPUT_CHANNELS},height,width for {config.arch}, not {','.join(map(str, shape))}."
            )
        return load_inputs(
            config.input,
            shape=shape,
            batch_size=config.batch_size,
            batches=config.batches,
            seed=seed,
            shift=config.shift,
        )

    def _decide_streaming(self, inputs: Inputs) -> bool:
        config = self._config
        itemsize = getattr(torch, config.dtype).itemsize
        streaming, backward = config.streaming == "on", self._differentiated
        if config.streaming == "auto" and self._checkpoint is None and config.sites is None:
            whole = needed_bytes(self.spec, inputs.shape, itemsize=itemsize, differentiated=backward)
            streaming = sum(whole) > available_bytes()
        if streaming and backward and normalizer_facts(self.spec.norm).block is not None:
            raise UsageError(
                "--streaming runs each block again when its gradient comes back, and a block with "
                f"--norm {self.spec.norm} has changed what it was handed by then: leave the gradient out of --stats, "
                "or leave out --streaming."
            )
        check_fits(self.spec, inputs.shape, itemsize=itemsize, streamed=streaming, differentiated=backward)
        return streaming

    @property
    def _differentiated(self) -> bool:
        return bool(set(self._config.stats) & set(GRADIENT_STATISTICS))


def _with_warmup(resolved: Resolved, spec: ModelSpec) -> Resolved:
    if resolved.sources["warmup"] != "default":
        return resolved
    # What normalizes by running estimates is shown with estimates that mean something.
    return replace(resolved, config=replace(resolved.config, warmup=normalizer_facts(spec.norm).warmup))
