"""Remedies for a network of the user's own: what can be changed on an instance, and what its verdict is then."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils import parametrize

from sppkit.config.parsers import flag_of
from sppkit.diagnosis.diagnose import diagnose
from sppkit.errors import UsageError
from sppkit.models.weights import scaled_ws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from sppkit.config.resolve import Resolved
    from sppkit.diagnosis.result import Diagnosis
    from sppkit.joins.joins import Findings
    from sppkit.measuring.run import Run

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_LEVELS = ("passes", "passes with a warning", "fails")


@dataclass(frozen=True)
class OwnRemedy:
    """One thing to try on an instance.

    Attributes:
        name: What it is called.
        code: What to do in the network's code.
        apply: Changes a network in place, given its joins, and returns how many layers it changed.
    """

    name: str
    code: str
    apply: Callable[[nn.Module, Findings], int]


@dataclass(frozen=True)
class OwnOutcome:
    """A network as it is (``remedy`` is None), or with a remedy.

    Attributes:
        run: What was measured.
        remedy: What was changed.
        found: What the diagnosis finds, remarks left out.
    """

    run: Run
    remedy: OwnRemedy | None
    found: tuple[Diagnosis, ...]

    @property
    def level(self) -> int:
        """0 passes, 1 with a warning, 2 fails."""
        return max((2 if one.severity == "error" else 1 for one in self.found), default=0)

    @property
    def verdict(self) -> str:
        """The level in words."""
        return _LEVELS[self.level]


def own_outcome(run: Run, remedy: OwnRemedy | None = None) -> OwnOutcome:
    """Return what was measured with its verdict."""
    faults = (one for one in diagnose(run.table, run.record) if one.severity != "remark")
    return OwnOutcome(run, remedy, tuple(faults))


def ranked_own(outcomes: Sequence[OwnOutcome]) -> list[OwnOutcome]:
    """Return outcomes with the healthiest first; equal ones in the given order."""
    return sorted(outcomes, key=lambda outcome: (outcome.level, len(outcome.found)))


def best_own(outcomes: Sequence[OwnOutcome]) -> OwnOutcome | None:
    """Return the remedy to propose: one whose verdict is better than the network's as it is."""
    untreated = next(outcome for outcome in outcomes if outcome.remedy is None)
    first = ranked_own(outcomes)[0]
    return first if first.level < untreated.level else None


def check_treatable(resolved: Resolved) -> None:
    """Refuse weights that are not initial ones, and what means nothing here."""
    if resolved.config.checkpoint is not None:
        raise UsageError("suggest draws weights anew; those of --checkpoint would be lost. Leave it out.")
    for name in ("stats", "streaming", "out", "name", "format"):
        if resolved.sources.get(name, "default") != "default":
            raise UsageError(
                f"{flag_of(name)} means nothing for suggest with --model: it judges by statistics of its own, and "
                "writes no files."
            )


def _iter_layers(model: nn.Module) -> Iterator[nn.Linear | nn.Conv2d]:
    yield from (module for module in model.modules() if isinstance(module, _LAYERS))  # type: ignore[misc]


def _draw(scale: float, model: nn.Module, _findings: Findings) -> int:
    layers = list(_iter_layers(model))
    for layer in layers:
        nn.init.normal_(layer.weight, std=(scale / layer.weight[0].numel()) ** 0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return len(layers)


class _Standardized(nn.Module):
    """Scaled weight standardization, with the gain of ReLU behind it."""

    def forward(self, weight: Tensor) -> Tensor:
        filters = weight.flatten(1)[..., None, None]
        # ReLU leaves (1 - 1/pi) / 2 of the variance of a standard normal.
        return scaled_ws(filters, weight.new_ones(len(weight)), 2 / (1 - 1 / torch.pi)).reshape(weight.shape)


def _standardize(model: nn.Module, _findings: Findings) -> int:
    layers = [layer for layer in _iter_layers(model) if layer.weight[0].numel() > 1]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _Standardized())
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return len(layers)


def _scale_branches(factor: Callable[[int], float], model: nn.Module, findings: Findings) -> int:
    paths = {join.branch.key.path for join in findings.joins if join.branch is not None}
    ends = [module for path, module in model.named_modules() if path in paths and _has_weight(module)]
    with torch.no_grad():
        for module in ends:
            for parameter in (module.weight, getattr(module, "bias", None)):
                if isinstance(parameter, torch.Tensor):
                    parameter.mul_(factor(len(ends)))
    return len(ends)


def _has_weight(module: nn.Module) -> bool:
    return isinstance(getattr(module, "weight", None), torch.Tensor)


OWN_REMEDIES = (
    OwnRemedy(
        "weights of variance 2/fan_in",
        'nn.init.kaiming_normal_(layer.weight, nonlinearity="relu"); nn.init.zeros_(layer.bias)',
        partial(_draw, 2.0),
    ),
    OwnRemedy(
        "weights of variance 1/fan_in",
        'nn.init.kaiming_normal_(layer.weight, nonlinearity="linear"); nn.init.zeros_(layer.bias)',
        partial(_draw, 1.0),
    ),
    OwnRemedy(
        "branches over the root of their number",
        "with torch.no_grad(): last.weight.mul_(branches ** -0.5), and the bias, of each branch's last layer",
        partial(_scale_branches, lambda count: count**-0.5),
    ),
    OwnRemedy(
        "scaled weight standardization",
        "torch.nn.utils.parametrize: subtract each filter's mean, divide by its deviation times the root of fan_in",
        _standardize,
    ),
    OwnRemedy(
        "branches that start at 0",
        "nn.init.zeros_(last.weight), and of the bias, of each branch's last layer",
        partial(_scale_branches, lambda _: 0.0),
    ),
)
