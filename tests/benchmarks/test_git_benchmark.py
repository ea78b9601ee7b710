"""What docs/git.md says of long-tailed digits, held against the networks on record."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.git import page, train  # noqa: E402

BACKGROUND, *OTHERS = train.METHODS


def small(nuisance: str, method: str, column: str = "ekld") -> np.ndarray:
    return page.by_group(nuisance, method, column)[1]


def large(nuisance: str, method: str, column: str = "ekld") -> np.ndarray:
    return page.by_group(nuisance, method, column)[0]


def test_the_page_has_the_tables_of_the_record() -> None:
    assert page.tables() in page.PAGE.read_text(encoding="utf-8")


def test_every_set_was_measured_by_every_method() -> None:
    found = {(item["nuisance"], item["method"], item["order"]) for item in train.results()}
    assert found == {
        (nuisance, method, order)
        for nuisance, methods in train.METHODS.items()
        for method in (*methods, "generator")
        for order in train.ORDERS
    }


def test_a_background_matters_to_small_classes_and_resampling_is_no_cure() -> None:
    assert (small(BACKGROUND, "erm") > 5 * large(BACKGROUND, "erm")).all()
    assert (small(BACKGROUND, "drs") < small(BACKGROUND, "erm")).all()
    assert small(BACKGROUND, "drs").mean() > 0.8 * small(BACKGROUND, "erm").mean()


def test_a_learned_background_lowers_the_ekld_of_small_classes_in_every_set() -> None:
    for method in ("git", "git-ramp", "git-all", "oracle"):
        assert (small(BACKGROUND, method) < small(BACKGROUND, "drs")).all()
        assert (
            small(BACKGROUND, method, "transformed_accuracy") > small(BACKGROUND, "drs", "transformed_accuracy")
        ).all()
    assert (small(BACKGROUND, "oracle") < small(BACKGROUND, "git")).all()


@pytest.mark.parametrize(("nuisance", "share"), [*zip(train.METHODS, (2 / 3, 1 / 2, 1 / 10), strict=True)])
def test_the_share_of_what_the_nuisance_itself_gives(nuisance: str, share: float) -> None:
    assert (small(nuisance, "git") < small(nuisance, "drs")).all()
    gains = [(small(nuisance, "drs") - small(nuisance, method)).mean() for method in ("git", "oracle")]
    assert gains[0] / gains[1] == pytest.approx(share, abs=0.05)


def test_confidence_did_not_fall_with_the_ekld() -> None:
    before, after = (small(BACKGROUND, method, "confidence").mean() for method in ("drs", "git"))
    assert (round(before, 2), round(after, 2)) == (0.90, 0.92)


def test_large_classes_pay() -> None:
    for nuisance, times, points in zip(train.METHODS, (1.5, 2.0), (1, 2), strict=False):
        assert (large(nuisance, "git") > large(nuisance, "drs")).all()
        assert large(nuisance, "git").mean() / large(nuisance, "drs").mean() == pytest.approx(times, abs=0.15)
        lost = large(nuisance, "drs", "transformed_accuracy") - large(nuisance, "git", "transformed_accuracy")
        assert round(100 * lost.mean()) == points
    rotation = train.METHODS.keys() - {BACKGROUND, OTHERS[0]}
    assert all((small(name, "oracle") < 0.3 * small(name, "drs")).all() for name in rotation)


def test_the_threshold_spares_large_classes_less_than_transforming_them() -> None:
    assert (large(BACKGROUND, "git") > large(BACKGROUND, "git-all")).all()
    assert small(BACKGROUND, "git").mean() < small(BACKGROUND, "git-all").mean()
    assert np.abs(small(BACKGROUND, "git") - small(BACKGROUND, "git-ramp")).max() < 0.01


def test_the_oracle_replaces_the_last_half_by_the_nuisance_of_untransformed_pictures() -> None:
    tail = train.long_tail(BACKGROUND, 0)
    chosen = torch.arange(0, 1500, 150)
    replace = train.replacing("oracle", tail, BACKGROUND, 0, "")
    assert replace is not None
    images = tail.images[chosen]
    found = replace(images, tail.labels[chosen], chosen)
    assert torch.equal(found[:5], images[:5])
    base = train.digits()[0][tail.positions[chosen]]
    assert torch.equal(found[5:][base[5:] > 0], base[5:][base[5:] > 0])
    levels = [np.unique(picture[plain == 0]) for picture, plain in zip(found[5:], base[5:], strict=True)]
    assert all(len(level) == 1 for level in levels)
    assert (found[5:] != images[5:]).any()
