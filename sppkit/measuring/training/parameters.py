"""What a training step does to the parameters of every block: their norm, that of their gradient, and of the update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.joins.parameters import parameters_by_block
from sppkit.stats.norms import norm, update_to_weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from torch import Tensor, nn

    from sppkit.joins.joins import Findings

_WEIGHT, _GRADIENT, _UPDATE = "weight_norm", "weight_gradient_norm", "update_to_weight"


class ParameterNorms:
    """Statistics of a step, of the parameters behind each row.

    What a step changes can be told only beside a copy of what was there before: one of all parameters, for as long as a
    monitored step takes.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        """Prepare to take statistics.

        Args:
            model: The model.
            names: Of ``registry.TRAINING_STATISTICS``; for none, nothing is copied.
        """
        self._model, self._names = model, tuple(names)
        self._before: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Keep what the parameters are before a step."""
        if {_WEIGHT, _UPDATE} & set(self._names):
            self._before = {name: each.detach().clone() for name, each in self._model.named_parameters()}

    def forget(self) -> None:
        """Let go of what was kept."""
        self._before = {}

    def add_to(self, table: pd.DataFrame, findings: Findings | None) -> None:
        """Add the columns to a step's table, after the step."""
        if not self._names:
            return
        own = dict(self._model.named_parameters())
        shared = _by_path(table, own) if findings is None else parameters_by_block(findings)
        blocks = [[name for name in shared.get(int(block), []) if name in own] for block in table["block"]]
        with torch.no_grad():
            for statistic in self._names:
                table[statistic] = _fetch([self._take(statistic, names, own) for names in blocks])
        self.forget()

    def _take(self, statistic: str, names: Sequence[str], own: Mapping[str, Tensor]) -> Tensor | None:
        if statistic == _GRADIENT:
            gradients = [own[name].grad for name in names]
            found = [gradient.detach() for gradient in gradients if gradient is not None]
            return norm(found) if found else None
        known = [name for name in names if name in self._before and own[name].shape == self._before[name].shape]
        before = [self._before[name] for name in known]
        if not before:
            return None
        after = [own[name].detach() for name in known]
        return norm(before) if statistic == _WEIGHT else update_to_weight(before, after)


def _by_path(table: pd.DataFrame, own: Mapping[str, Tensor]) -> dict[int, list[str]]:
    """Return the parameters of a network that declares its blocks: those in the module that a row is named by."""
    named = zip(table["block"], table["name"], strict=True)
    return {int(block): [name for name in own if name.startswith(f"{row}.")] for block, row in named}


def _fetch(values: Sequence[Tensor | None]) -> list[float]:
    # At once: each alone would wait for the device.
    found = [value for value in values if value is not None]
    numbers = iter(torch.stack([value.reshape(()) for value in found]).tolist() if found else ())
    return [float("nan") if value is None else next(numbers) for value in values]
