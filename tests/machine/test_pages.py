"""Memory outside of the heap: arrays that are apart, aligned, freed, and saved as what they are."""

from __future__ import annotations

import gc
import io
from pathlib import Path

import numpy as np
import pytest
import torch

import sppkit
from sppkit.machine.mapped_memory import Pieces, map_memory

FLOAT = np.dtype(np.float32)


def mapped_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmSize")))


def test_arrays_are_apart_and_aligned() -> None:
    pieces = Pieces(1000)
    shapes = [(3,), (7, 5), (), (0, 4), (90,), (2, 100), (1000,), (11,)]
    arrays = [pieces.array(shape, FLOAT) for shape in shapes]
    for number, array in enumerate(arrays):
        array.fill(number)
    for number, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        assert array.shape == shape
        assert array.ctypes.data % 64 == 0
        assert (array == number).all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_is_freed_with_the_last_of_its_arrays() -> None:
    pieces = Pieces(2**28)
    first, second = pieces.take(40)[0], pieces.take(40)[0]
    del pieces
    gc.collect()  # of what other tests have left
    before = mapped_bytes()
    del first
    gc.collect()
    assert mapped_bytes() > before - 2**28
    del second
    gc.collect()
    assert mapped_bytes() <= before - 2**28


def test_mapped_memory_starts_as_zero() -> None:
    assert not map_memory(5000).any()


def test_a_weight_is_saved_without_its_neighbours() -> None:
    model = sppkit.build_model("nf-resnet", stages=(1,), width=0.25)
    file = io.BytesIO()
    weight = next(parameter for parameter in model.parameters() if parameter.ndim == 4)
    torch.save(weight, file)
    assert len(file.getvalue()) < 4 * weight.numel() + 10_000
