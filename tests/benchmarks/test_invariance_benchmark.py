"""What the page of invariance claims, against the networks on record; and that training can be resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks.invariance import page, train

if TYPE_CHECKING:
    import numpy as np


def head_and_tail(
    nuisance: str, method: str, name: str = "ekld", bases: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    values = page.column(name, nuisance, method, bases)
    return values[:, 0], values[:, page.TAIL].mean(axis=1)


def test_every_network_is_on_record() -> None:
    wanted = {(nuisance, method, None) for nuisance in train.NUISANCES for method in train.METHODS}
    wanted |= {(nuisance, "erm", train.FEW_BASES) for nuisance in train.NUISANCES}
    for kind in wanted:
        found = page.networks(*kind)
        assert sorted(each["order"] for each in found) == list(train.ORDERS)
        assert len({tuple(each["classes"]) for each in found}) == len(train.ORDERS)
        assert all(each["sizes"] == [100, 25, 11, 6, 5, 5, 5, 5, 5, 5] for each in found)


def test_the_page_shows_what_is_on_record() -> None:
    shown = page.PAGE.read_text(encoding="utf-8")
    assert page.render_page(shown) == shown
    assert shown.count("<!-- measured: ") == 3


@pytest.mark.parametrize("nuisance", train.NUISANCES)
def test_what_the_page_says_holds(nuisance: str) -> None:
    head, tail = head_and_tail(nuisance, "erm")
    assert (tail > head).all()
    told = {"rotate": 3.8, "background": 12, "dilate:dilation=2,erosion=2": 8}[nuisance]
    assert tail.mean() / head.mean() == pytest.approx(told, rel=0.05)
    assert (
        head_and_tail(nuisance, "erm", "confidence")[0].mean() > head_and_tail(nuisance, "erm", "confidence")[1].mean()
    )
    resampled, oracle = head_and_tail(nuisance, "drs")[1], head_and_tail(nuisance, "drs+oracle")[1]
    error = (tail.var(ddof=1) / len(tail) + resampled.var(ddof=1) / len(tail)) ** 0.5
    assert resampled.mean() > tail.mean() - error
    share = {"rotate": 0.25, "background": 0.5, "dilate:dilation=2,erosion=2": 0.4}[nuisance]
    assert oracle.mean() / tail.mean() == pytest.approx(share, abs=0.05)
    alike = (
        head_and_tail(nuisance, "drs+oracle", "confidence")[1].mean()
        - head_and_tail(nuisance, "erm", "confidence")[1].mean()
    )
    assert abs(alike) < 0.1


def test_where_the_page_says_head_and_tail_part() -> None:
    ends = {}
    for method in ("erm", "drs+oracle"):
        for name in ("stem", "blocks.2"):
            values = page.block(name, "rotate", method)
            ends[method, name] = round(values[:, 0].mean() - values[:, page.TAIL].mean(), 2)
    assert abs(ends["erm", "stem"]) < 0.05
    assert ends["erm", "blocks.2"] > 0.2
    assert abs(ends["drs+oracle", "blocks.2"]) < 0.05


def test_what_the_page_says_does_not_hold() -> None:
    for nuisance in ("rotate", "dilate:dilation=2,erosion=2"):
        assert page.column("ekld", nuisance, "erm")[:, 2].mean() > head_and_tail(nuisance, "erm")[1].mean()
    assert (
        head_and_tail("rotate", "drs+oracle", "accuracy")[0].mean()
        < head_and_tail("rotate", "erm", "accuracy")[0].mean()
    )
    above = {}
    for nuisance in train.NUISANCES:
        head, tail = head_and_tail(nuisance, "erm", bases=train.FEW_BASES)
        above[nuisance.partition(":")[0]] = int((tail > head).sum())
    assert above == {"rotate": 10, "background": 4, "dilate": 8}


def test_training_is_resumed_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "RESULTS", tmp_path / "results.jsonl")
    for name, few in (("NUISANCES", ("rotate",)), ("METHODS", ("erm", "drs+oracle")), ("ORDERS", range(1))):
        monkeypatch.setattr(train, name, few)
    for name, small in (("EPOCHS", 2), ("DELAY", 1), ("DRAWS", 1)):
        monkeypatch.setattr(train, name, small)
    threads = torch.get_num_threads()
    train.train()
    torch.set_num_threads(threads)
    first = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    train.train()
    torch.set_num_threads(threads)
    assert (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines() == first
    assert "environment" in json.loads(first[0])
    assert [json.loads(line)["method"] for line in first[1:]] == ["erm", "drs+oracle", "erm"]


def test_the_test_pictures_are_in_no_set() -> None:
    pictures, labels, test, test_labels = train.digits()
    assert (len(pictures) + len(test), len(pictures), len(labels)) == (1797, 1197, 1197)
    assert test_labels.bincount().tolist() == [train.TEST] * 10
    assert not {each.numpy().tobytes() for each in test} & {each.numpy().tobytes() for each in pictures}
