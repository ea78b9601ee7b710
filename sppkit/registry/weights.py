"""Every weight parametrization, and what it makes of a filter."""

from __future__ import annotations

from sppkit.registry.entries import WeightEntry

_HOME = "sppkit.models.weights"

WEIGHTS: dict[str, WeightEntry] = {
    "none": WeightEntry(f"{_HOME}:unchanged", "the weight itself, N(0, c/fan_in)", centred=False, squares="drawn"),
    "ws": WeightEntry(
        f"{_HOME}:ws", "weight standardization: zero mean, unit variance per filter", centred=True, squares="fan-in"
    ),
    "centered-ws": WeightEntry(
        f"{_HOME}:centered_ws", "subtracts each filter's mean only", centred=True, squares="drawn"
    ),
    "scaled-ws": WeightEntry(
        f"{_HOME}:scaled_ws", "zero mean, squares of a filter sum to c (Brock et al. 2021)", centred=True, squares="c"
    ),
}
