"""Keyed random streams: changing one moves every baseline, so its bytes are pinned."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import sppkit
from sppkit.streams import STREAM_NAME, fill_normal


def test_stream_is_the_published_recipe() -> None:
    # The recipe, step by step: SHA-256 of "seed/name", big-endian, seeds PCG64; float32 ziggurat normals.
    digest = hashlib.sha256(b"3/blocks.0.conv1.weight").digest()
    expected = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big"))).standard_normal(50, dtype=np.float32)
    drawn = np.empty((5, 10), np.float32)
    fill_normal(drawn, seed=3, name="blocks.0.conv1.weight")
    assert (drawn.ravel() == expected).all()


def test_checksum_guards_the_stream() -> None:
    # If this fails, NumPy or the recipe has changed: give the stream another name and say so in the changelog.
    drawn = np.empty(4096, np.float32)
    fill_normal(drawn, seed=0, name="stem.weight")
    assert STREAM_NAME == "pcg64-sha256-normal32"
    assert hashlib.sha256(drawn.astype("<f4").tobytes()).hexdigest() == CHECKSUM


CHECKSUM = "a3caa103d836db309341def687caa28be58959b869f58c790a5edcedc5921dc2"


def test_names_and_seeds_give_independent_numbers() -> None:
    drawn = np.empty((4, 20000), np.float32)
    keys = [(0, "a"), (0, "b"), (1, "a"), (10, "/a")]
    for row, (seed, name) in zip(drawn, keys, strict=True):
        fill_normal(row, seed=seed, name=name)
    # 1/sqrt(20000) = 0.007 is one standard error of a correlation.
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.03


@pytest.mark.parametrize("std", [0.5, 1.0, 3.0])
def test_normals_have_the_asked_deviation(std: float) -> None:
    drawn = np.empty(200_000, np.float32)
    fill_normal(drawn, seed=1, name="x", std=std)
    assert drawn.mean() == pytest.approx(0, abs=5 * std / 447)
    assert drawn.std() == pytest.approx(std, rel=0.008)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_weights_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        state = sppkit.build_model("nf-resnet", stages=(1, 2), width=0.25, seed=5, se=True).state_dict()
    finally:
        torch.set_num_threads(before)
    reference = sppkit.build_model("nf-resnet", stages=(1, 2), width=0.25, seed=5, se=True).state_dict()
    assert state.keys() == reference.keys()
    assert all(torch.equal(state[name], reference[name]) for name in state)
