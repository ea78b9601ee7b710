"""Options that would mean nothing for an architecture, or not beside others: refused rather than ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit import registry
from sppkit.errors import MeaninglessOptionError, UsageError
from sppkit.models.addons.settings import positions, stands_at
from sppkit.models.normalizers.placement import normalizes_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sppkit.config.options import ModelOptions
    from sppkit.models.architecture import Architecture


def refuse_meaningless(arch: str, kind: Architecture, values: Mapping[str, object]) -> None:
    """Refuse options that mean nothing for an architecture, and two that say the same."""
    if values.get("norm") is not None and not kind.choosable_norm:
        owners = ", ".join(
            name for name in registry.ARCHITECTURES if registry.resolve("architecture", name).choosable_norm
        )
        raise MeaninglessOptionError(
            "norm", f"--norm means nothing for {arch}, which has no normalizer; it belongs to {owners}."
        )
    decided = [name for name in ("depth", "stages", "block", "stem", "se") if name in values]
    if kind.has_variants and decided:
        raise MeaninglessOptionError(decided[0], f"--{decided[0]} means nothing for {arch}: --variant decides it.")
    if values.get("variant") is not None and not kind.has_variants:
        raise MeaninglessOptionError("variant", f"--variant means nothing for {arch}; it belongs to nf-regnet.")
    for name in ("alpha", "stochastic_depth"):
        if values.get(name) is not None and not kind.scaled:
            flag = f"--{name.replace('_', '-')}"
            raise MeaninglessOptionError(
                name, f"{flag} means nothing for {arch}; it belongs to nf-resnet and nf-regnet."
            )
    if values.get("depth") is not None and values.get("stages") is not None:
        raise UsageError("--depth and --stages both say how many blocks there are; give one of them.")


def refuse_combinations(norm: str, chosen: ModelOptions) -> None:
    """Refuse options that mean nothing beside the other ones."""
    facts = registry.normalizer_facts(norm)
    if chosen.order is not None and not facts.order:
        owners = ", ".join(name for name, entry in registry.NORMALIZERS.items() if entry.order)
        reason = f"--order means nothing for the normalizer {norm}; it belongs to --norm {owners}."
        raise MeaninglessOptionError("order", reason)
    if facts.refuses_gates and (chosen.se or chosen.add_on):
        gate = "--se" if chosen.se else "--add-on"
        raise UsageError(f"--norm {norm} {facts.refuses_gates}: leave out {gate}.")
    if chosen.enorm_kw is not None and not chosen.enorm:
        raise UsageError("--enorm-kw means nothing without balancing: add --enorm.")
    if chosen.noise_kind is not None and not chosen.noise:
        raise UsageError("--noise-kind means nothing without noise: say how strong it is with --noise 0.1.")


def refuse_lost_add_ons(norm: str, add_on: str | None, stages: Iterable[int]) -> None:
    """Refuse add-ons that no block has, because a normalizer follows every addition that they would stand behind."""
    where = [(stage, position == blocks) for stage, blocks in enumerate(stages) for position in range(1, blocks + 1)]
    placed = positions(add_on)
    kept = [
        stands_at(placed, normalized=normalizes_output(norm, stage, closes_stage=last)).keys() for stage, last in where
    ]
    for name, place in placed.items():
        if place != "input" and not any(name in names for names in kept):
            raise UsageError(
                f"--add-on {name}@{place} stands nowhere: with --norm {norm} a normalizer follows the addition of "
                "every block of this network, and none is put behind it. Take more blocks per stage, or another place."
            )
