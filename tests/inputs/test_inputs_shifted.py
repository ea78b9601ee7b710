"""``--shift`` acts between decoding and normalization, whatever the batches."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pictures import smooth_pictures
from sppkit.config.resolve import resolve_config
from sppkit.config.shifts import parse_shift
from sppkit.errors import UsageError
from sppkit.inputs.decode import MEAN, STD
from sppkit.inputs.keywords import Beside, by_keyword
from sppkit.inputs.load import Inputs, load_inputs
from sppkit.inputs.shifted import beside
from sppkit.inputs.shifts.apply_shift import apply_shift

SIDE = 16


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, picture in enumerate(smooth_pictures(5, side=SIDE)):
        values = np.rint(picture.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{index}.png")
    return folder


def loaded(source: object, *, shift: str | None = None, batch_size: int = 5, batches: int = 1, seed: int = 0) -> Inputs:
    return load_inputs(
        str(source), shape=(3, SIDE, SIDE), batch_size=batch_size, batches=batches, seed=seed, shift=shift
    )


def all_of(inputs: Inputs) -> torch.Tensor:
    return torch.cat([batch for batch in inputs.batches() if isinstance(batch, torch.Tensor)])


def decoded(inputs: Inputs) -> torch.Tensor:
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (MEAN, STD))
    return all_of(inputs) * std + mean


@pytest.mark.parametrize("shift", ["contrast:factor=0.3", "corruption:gaussian-noise:2", "apr-p:axes=hw", "augmix"])
def test_pictures_are_shifted_before_they_are_normalized(photos: Path, shift: str) -> None:
    clean = decoded(loaded(photos)).clamp(0, 1)
    expected = apply_shift((clean * 255).round() / 255, shift, seed=7)
    assert torch.allclose(decoded(loaded(photos, shift=shift, seed=7)), expected, atol=1e-5)


@pytest.mark.parametrize("shift", ["corruption:gaussian-noise:2", "apr-p", "crossnorm:crop=both"])
def test_the_size_of_batches_does_not_matter(photos: Path, shift: str) -> None:
    together, apart = loaded(photos, shift=shift), loaded(photos, shift=shift, batch_size=2, batches=3)
    assert torch.allclose(all_of(together), all_of(apart), atol=1e-5)
    warm = list(apart.warmup(4))  # the last batch of the three, and then the first again
    assert torch.equal(warm[3], warm[0])  # type: ignore[arg-type]


def test_the_record_says_what_was_done(photos: Path) -> None:
    described = loaded(photos, shift="corrupt:fog:3", seed=4).description
    assert described["shift"] == {
        "name": "corruption:fog:3",
        "where": "before normalization, values in [0, 1]",
        "stream": "pcg64-sha256-normal32, shift/corruption/<sample>",
        "seed": 4,
    }
    assert "shift" not in loaded(photos).description


def test_forms_of_a_picture_stand_behind_each_other(photos: Path) -> None:
    shifts = [parse_shift(text) for text in ("contrast", "corruption:gaussian-noise:1")]
    paired = list(beside(loaded(photos, batch_size=2, batches=3), shifts, 0).batches())
    assert [len(batch) for batch in paired] == [6, 6, 3]
    for part, shift in ((0, None), (1, "contrast"), (2, "corruption:gaussian-noise:1")):
        expected = all_of(loaded(photos, shift=shift))
        found = torch.cat([batch.chunk(3)[part] for batch in paired if isinstance(batch, torch.Tensor)])
        assert torch.equal(found, expected)


def test_pictures_that_are_handed_over_by_name(photos: Path) -> None:
    shifts = [parse_shift("contrast")]
    [named] = beside(by_keyword(loaded(photos), "pixel_values", [], 0), shifts, 0).batches()
    [plain] = beside(loaded(photos), shifts, 0).batches()
    assert isinstance(named, dict)
    assert list(named) == ["pixel_values"]
    assert torch.equal(named["pixel_values"], plain)  # type: ignore[arg-type]
    several = by_keyword(loaded(photos), "pixel_values", [Beside("text", (4,), 9)], 0)
    with pytest.raises(UsageError, match="is for a network of one input, which is a picture; this one takes several"):
        beside(several, shifts, 0)


def test_an_array_of_pictures_is_shifted_as_it_is(tmp_path: Path) -> None:
    x = smooth_pictures(4, side=SIDE).numpy()
    np.save(tmp_path / "x.npy", x)
    shifted = all_of(loaded(tmp_path / "x.npy", shift="contrast", batch_size=2, batches=2))
    assert torch.allclose(shifted, apply_shift(torch.from_numpy(x), "contrast").float(), atol=1e-6)


def test_a_normalized_array_is_refused_but_by_what_takes_any_values(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.linspace(-2, 2.5, 2 * 3 * SIDE * SIDE).reshape(2, 3, SIDE, SIDE))
    message = (
        "holds values from -2 to 2.5; --shift contrast is for pictures with values in [0, 1], before normalization."
    )
    with pytest.raises(UsageError, match=re.escape(message)):
        loaded(tmp_path / "x.npy", shift="contrast")
    assert all_of(loaded(tmp_path / "x.npy", shift="apr-p")).shape == (2, 3, SIDE, SIDE)


def test_gaussian_noise_is_paired_batch_by_batch() -> None:
    one, two = (loaded("gaussian", shift="crossnorm", batch_size=4, batches=batches) for batches in (1, 2))
    assert torch.equal(all_of(one), all_of(two)[:4])
    assert two.draw is not None
    assert torch.equal(all_of(two)[4:], two.draw(1))  # type: ignore[arg-type]
    clean = all_of(loaded("gaussian", batch_size=4))
    # Every channel has the mean of another sample of its batch.
    means = all_of(one).mean((2, 3))
    assert all(min(float((mean - other).abs().max()) for other in clean.mean((2, 3))) < 1e-5 for mean in means)


@pytest.mark.parametrize("shift", ["contrast", "augmix", "corruption:fog:1", "mine.py:darker"])
def test_gaussian_noise_has_no_pictures(shift: str) -> None:
    with pytest.raises(UsageError, match="is for pictures, and the input is Gaussian noise"):
        resolve_config({"arch": "bn-relu-conv", "depth": "50", "shift": shift})


def test_tokens_are_no_pictures() -> None:
    with pytest.raises(UsageError, match="is for pictures, and the input is random tokens"):
        resolve_config({"model": "timm:x", "shift": "apr-p", "input": "tokens"})
    with pytest.raises(UsageError, match="is for a network of one input, which is a picture"):
        load_inputs("tokens", shape=(8,), batch_size=2, batches=1, seed=0, vocab=5, shift="apr-p")


def test_a_vector_is_no_picture(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 7), np.float32))
    with pytest.raises(UsageError, match="which is a picture; this one takes 7"):
        load_inputs(str(tmp_path / "x.npy"), shape=(7,), batch_size=2, batches=1, seed=0, shift="apr-p")


def test_a_run_has_one_shift() -> None:
    flags: dict[str, Any] = {"arch": "bn-relu-conv", "depth": "50", "input": "photos", "shift": ["contrast", "apr-p"]}
    with pytest.raises(UsageError, match="a run has one --shift; several over each other: sppkit shift"):
        resolve_config(flags)
