"""What makes stored statistics a signal's own: more batches, or those of the network with its noise."""

from __future__ import annotations

import pytest

from sppkit.curves.network import read_network
from sppkit.diagnosis.exploding import _explain
from sppkit.models.spec import build_spec, describe

FROZEN = "statistics=frozen"


def facts(**options: object):
    spec = build_spec("bn-relu-conv", {"stages": (2, 2), **options})
    return read_network({"network": describe(spec), "mode": "eval", "warmup": 50}, 4)


def test_statistics_of_a_clean_network_are_no_noisy_ones() -> None:
    network = facts(norm="noise-aware-bn", norm_kw=FROZEN, noise=0.3)
    cause, remedy = _explain(network)
    assert cause == "eval mode divides by the statistics of the clean network, and its weights are noisy"
    assert remedy == "take those of the noisy network: --norm-kw statistics=calibrated"


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "noise-aware-bn", "noise": 0.3},
        {"norm": "noise-aware-bn", "norm_kw": FROZEN},
        {"norm": "bn", "noise": 0.3},
    ],
    ids=["calibrated", "no noise", "batch norm"],
)
def test_elsewhere_it_is_more_batches(options: dict[str, object]) -> None:
    cause, remedy = _explain(facts(**options))
    assert "50 warm-up batches have brought them" in cause
    assert remedy.startswith("run more batches in train mode first")
