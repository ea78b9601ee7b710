"""The one face of every shift: what it may depend on, what it must leave alone, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import sppkit
from pictures import smooth_pictures
from sppkit.config.shifts import parse_shift
from sppkit.errors import UsageError
from sppkit.inputs.shifts.crossnorm import restyled
from sppkit.inputs.shifts.shift import apply, generators_of, load_shift, partners_of
from sppkit.registry import SHIFTS

# What takes a file, or a background that must be there, has tests of its own.
NAMES = [
    *(name for name, entry in SHIFTS.items() if not entry.arguments and not entry.nuisance),
    "apr-p:axes=hw,probability=0.5", "apr-s:axes=hw", "augmix:operations=all,set=cifar", "crossnorm:crop=both",
    "corruption:impulse-noise:2", "corruption:elastic-transform:1:set=cifar", "corrupt:snow:3",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_does_not_depend_on_its_batch(name: str) -> None:
    x = smooth_pictures(6).float()
    chosen = parse_shift(name)
    shift = load_shift(chosen)
    partners = x[partners_of(chosen, 0, 6)] if chosen.entry.pairs else None
    together = apply(shift, x, generators_of(chosen, 0, range(6)), partners)
    for order in ([4], [5, 2], [3, 1, 0]):
        part = None if partners is None else partners[order]
        alone = apply(shift, x[order], generators_of(chosen, 0, order), part)
        # The Fourier transform of another number of pictures may round otherwise.
        assert torch.allclose(alone, together[order], rtol=0, atol=1e-6 if chosen.name == "apr-p" else 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_type_and_memory(name: str, dtype: torch.dtype) -> None:
    x = smooth_pictures(4).to(dtype).requires_grad_()
    before, states = x.detach().clone(), torch.get_rng_state()
    shifted = sppkit.apply_shift(x, name, seed=3)
    assert shifted.shape == x.shape
    assert shifted.dtype == dtype
    assert not shifted.requires_grad
    assert torch.isfinite(shifted).all()
    shifted += 1
    assert torch.equal(x.detach(), before)
    assert torch.equal(torch.get_rng_state(), states)


@pytest.mark.parametrize("name", ["apr-p", "apr-s", "augmix", "crossnorm", "corruption:gaussian-noise:3"])
def test_the_seed_decides(name: str) -> None:
    x = smooth_pictures(4)
    once, again, other = (sppkit.apply_shift(x, name, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_a_data_set_batch_by_batch() -> None:
    x = smooth_pictures(6)
    whole = sppkit.apply_shift(x, "corruption:gaussian-noise:1")
    parts = [
        sppkit.apply_shift(x[first : first + 2], "corruption:gaussian-noise:1", first=first) for first in (0, 2, 4)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_severities_share_their_noise() -> None:
    x = torch.full((2, 3, 8, 8), 0.5)
    weak, strong = (sppkit.apply_shift(x, f"corruption:gaussian-noise:{severity}:set=cifar") for severity in (1, 5))
    assert torch.allclose((weak - 0.5) / 0.04, (strong - 0.5) / 0.10, atol=1e-5)


def test_partners_are_a_permutation() -> None:
    chosen = parse_shift("apr-p")
    assert sorted(partners_of(chosen, 0, 50)) == list(range(50))
    assert partners_of(chosen, 0, 50) != partners_of(chosen, 1, 50)


def test_contrast_and_brightness_change_the_style_and_nothing_else() -> None:
    x = smooth_pictures()
    flatter = sppkit.apply_shift(x, "contrast:factor=0.25")
    assert torch.allclose(flatter.mean((2, 3)), x.mean((2, 3)))
    assert torch.allclose(flatter.std((2, 3)), x.std((2, 3)) / 4)
    assert torch.allclose(sppkit.apply_shift(x, "brightness:offset=0.05"), x + 0.05)
    assert float(sppkit.apply_shift(x, "brightness:offset=0.9").max()) == 1


def test_crossnorm_takes_the_style_of_the_partner() -> None:
    x = smooth_pictures()
    shifted, order = sppkit.apply_shift(x, "crossnorm"), partners_of(parse_shift("crossnorm"), 0, 3)
    # Up to the epsilon of 1e-5 in variances of about 0.01.
    assert torch.allclose(shifted.mean((2, 3)), x[order].mean((2, 3)))
    assert torch.allclose(shifted.std((2, 3)), x[order].std((2, 3)), rtol=2e-3)
    assert torch.allclose(restyled(x[0], x[0]), x[0])


def test_a_cropped_content_leaves_the_rest_as_it_was() -> None:
    x = smooth_pictures(8)
    changed = (sppkit.apply_shift(x, "crossnorm:crop=content") != x).any(1)
    for one in changed[[index != other for index, other in enumerate(partners_of(parse_shift("crossnorm"), 0, 8))]]:
        rows, columns = one.any(1).nonzero(), one.any(0).nonzero()
        box = one[int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1]
        assert box.all()  # the changed pixels are a box
        assert 0.1 * 256 < box.numel() < 256


def test_a_function_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "def darker(pictures, generators):\n"
        "    return pictures.mul_(torch.tensor([g.uniform(0.2, 0.8) for g in generators])[:, None, None, None])\n"
        "def broken(pictures, generators):\n    raise RuntimeError('no light')\n"
        "def smaller(pictures, generators):\n    return pictures[:, :1]\n"
        "def lost(pictures, generators):\n    return pictures / 0\n"
        "def nothing(pictures, generators):\n    pass\n"
    )
    x = smooth_pictures(2)
    before = x.clone()
    shifted = sppkit.apply_shift(x, f"{file}:darker")
    assert torch.equal(x, before)  # though the function writes into what it gets
    assert ((shifted / x).std((1, 2, 3)) < 1e-6).all()
    for name, message in {
        "broken": "broken failed: RuntimeError: no light",
        "smaller": "smaller returned torch.float64 of shape (2, 1, 16, 16); it must return a float tensor of shape",
        "lost": "lost returned values that are not finite.",
        "nothing": "nothing returned a NoneType; it must return a float tensor",
        "darkr": "did you mean 'darker'?",
    }.items():
        with pytest.raises(UsageError, match=re.escape(message)):
            sppkit.apply_shift(x, f"{file}:{name}")
    with pytest.raises(UsageError, match=re.escape("--shift nowhere.py: there is no such file.")):
        sppkit.apply_shift(x, "nowhere.py:darker")
    (tmp_path / "bad.py").write_text("1 / 0\n")
    with pytest.raises(UsageError, match=re.escape("bad.py failed when it was imported: ZeroDivisionError")):
        sppkit.apply_shift(x, f"{tmp_path / 'bad.py'}:darker")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0]], "inputs must be a tensor of pictures, not list."),
        (torch.rand(3, 8, 8), "samples x channels x height x width; these are torch.float32 of shape (3, 8, 8)."),
        (torch.ones(1, 3, 8, 8, dtype=torch.uint8), "these are torch.uint8 of shape (1, 3, 8, 8)."),
        (torch.rand(0, 3, 8, 8), "are empty: there is nothing to shift."),
        (
            torch.randn(2, 3, 8, 8),
            "contrast is for pictures with values in [0, 1]: shift them before you",
        ),
        (torch.full((1, 3, 8, 8), float("nan")), "inputs hold values from nan to nan"),
    ],
)
def test_what_is_no_batch_of_pictures(x: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        sppkit.apply_shift(x, "contrast")


def test_shifts_of_any_values_take_noise() -> None:
    x = torch.randn(4, 3, 8, 8)
    for name in ("apr-p", "crossnorm"):
        assert not torch.equal(sppkit.apply_shift(x, name), x)


def test_other_arguments_that_can_not_be_used() -> None:
    x = smooth_pictures(1)
    with pytest.raises(UsageError, match="--seed must be a whole number"):
        sppkit.apply_shift(x, "contrast", seed=-1)
    with pytest.raises(UsageError, match="--first must be a whole number"):
        sppkit.apply_shift(x, "contrast", first=-1)
    with pytest.raises(UsageError, match="augmix is for pictures of 1 or 3 channels; these have 2"):
        sppkit.apply_shift(torch.rand(1, 2, 8, 8), "augmix")
    with pytest.raises(UsageError, match="crossnorm with a crop is for pictures of at least 3x3"):
        sppkit.apply_shift(torch.rand(2, 3, 2, 2), "crossnorm:crop=both")
