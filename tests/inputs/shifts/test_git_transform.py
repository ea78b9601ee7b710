"""A trained generator in use: as a shift, as a nuisance, and as a part of batches in training."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from generators import TINY, bars
from torch import Tensor

import sppkit
from sppkit.cli.git import describe
from sppkit.config.shifts import parse_shift
from sppkit.inputs.shifts.generative.generator import Generator
from sppkit.inputs.shifts.generative.quality import Quality, draw_grid, measure_quality
from sppkit.inputs.shifts.nuisance import choose_nuisance
from sppkit.inputs.shifts.shift import generators_of, load_shift
from sppkit.streams import keyed_generator

SIZES = [100, 40, 20, 5]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that has hardly been trained."""
    file = tmp_path_factory.mktemp("generator") / "git.safetensors"
    pictures, labels, _ = bars(16)
    sppkit.train_git(pictures, labels, file=file, steps=3, **TINY)
    return file


def replaced(transform: sppkit.GenerativeTransform, pictures: Tensor, labels: Tensor) -> Tensor:
    """Return which pictures of a batch are changed."""
    result, same = transform(pictures, labels)
    assert same is labels
    return (result != pictures).flatten(1).any(1)


def test_the_decoded_picture_is_that_of_the_content_and_the_drawn_style(file: Path) -> None:
    generator, (pictures, _, _) = Generator.read(file), bars(3)
    keys = [f"shift/git/{index}" for index in range(3)]
    styles = np.stack([keyed_generator(4, key).standard_normal(2, dtype=np.float32) for key in keys])
    networks = generator.networks
    expected = (networks.decode(networks.content(2 * pictures - 1), torch.from_numpy(styles)) + 1) / 2
    chosen = parse_shift(f"git:{file}")
    found = load_shift(chosen)(pictures, generators_of(chosen, 4, range(3)))
    torch.testing.assert_close(found, expected)
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_picture_is_transformed_alike_in_every_batch(file: Path) -> None:
    shift, (pictures, _, _) = Generator.read(file).shift, bars(5)
    together = shift(pictures, [keyed_generator(0, str(index)) for index in range(5)])
    alone = torch.cat([shift(pictures[i : i + 1], [keyed_generator(0, str(i))]) for i in range(5)])
    # float32; another batch, another order of sums.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    other = shift(pictures, [keyed_generator(1, str(index)) for index in range(5)])
    assert (other != together).flatten(1).any(1).all()


def test_types_are_kept_and_pictures_stay_what_they_are(file: Path) -> None:
    generator, (pictures, _, _) = Generator.read(file), bars(2)
    before = pictures.clone()
    for dtype in (torch.float64, torch.float16, torch.float32):
        assert generator.transform(pictures.to(dtype), torch.zeros(2, 2)).dtype == dtype
    assert torch.equal(pictures, before)
    assert not any(parameter.requires_grad for parameter in generator.networks.parameters())


def test_it_is_a_nuisance(file: Path) -> None:
    nuisance = choose_nuisance(f"git:{file}")
    assert (nuisance.text, nuisance.registered, nuisance.pairs) == (f"git:{file}", True, False)
    pictures, labels, _ = bars(8)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    table = sppkit.invariance(model, pictures, labels, nuisance=f"git:{file}", draws=2)
    assert (table["ekld"] > 0).all()


WRONG = {
    "size": (torch.rand(2, 1, 16, 16), r"the generator was trained on grey pictures of 8×8, not on grey .* of 16×16"),
    "colour": (torch.rand(2, 3, 8, 8), r"not on colour pictures of 8×8.\nGive such pictures \(--shape 1,8,8\)"),
    "axes": (torch.rand(2, 8, 8), r"must be floating-point numbers of the shape \(N, C, H, W\), not torch.float32 of"),
    "type": (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "must be floating-point numbers .*, not torch.uint8"),
    "range": (torch.rand(2, 1, 8, 8) - 1, "values of pictures must lie from 0 to 1, as they are before normalization"),
    "nan": (torch.full((2, 1, 8, 8), torch.nan), "these go from nan to nan"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_pictures_that_it_was_not_trained_on_are_refused(case: tuple[Tensor, str], file: Path) -> None:
    pictures, message = case
    generators = [keyed_generator(0, str(index)) for index in range(2)]
    with pytest.raises(sppkit.UsageError, match=message):
        Generator.read(file).shift(pictures, generators)
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.GenerativeTransform(file)(pictures, torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(("fraction", "count"), [(0, 0), (0.25, 2), (0.5, 4), (0.44, 3), (1, 7)])
def test_the_last_pictures_of_a_batch_are_replaced(fraction: float, count: int, file: Path) -> None:
    pictures, labels, _ = bars(7)
    before = pictures.clone()
    found = replaced(sppkit.GenerativeTransform(file, fraction=fraction), pictures, labels)
    # round(7 · fraction), halves up: 0, 1.75, 3.5, 3.08, 7.
    assert found.tolist() == [index >= 7 - count for index in range(7)]
    assert torch.equal(pictures, before)


def test_the_threshold_leaves_large_classes_as_they_are(file: Path) -> None:
    pictures, _, _ = bars(8)
    labels = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
    for sizes in (SIZES, dict(enumerate(SIZES))):
        transform = sppkit.GenerativeTransform(file, class_sizes=sizes, threshold=40, fraction=1)
        assert replaced(transform, pictures, labels).tolist() == [SIZES[label] <= 40 for label in labels]


def test_a_label_changes_nothing_for_the_other_pictures(file: Path) -> None:
    pictures, _, _ = bars(4)
    one, other = (
        sppkit.GenerativeTransform(file, class_sizes=SIZES, threshold=40, fraction=1)(pictures, torch.tensor(labels))[0]
        for labels in ([3, 3, 3, 3], [3, 0, 3, 3])
    )
    # float32; another batch, another order of sums.
    assert (one - other).abs().amax((1, 2, 3)).gt(1e-5).tolist() == [False, True, False, False]


def test_the_ramp_transforms_with_the_probability_that_is_told(file: Path) -> None:
    pictures = bars(4)[0].repeat(100, 1, 1, 1)
    labels = torch.arange(4).repeat(100)
    transform = sppkit.GenerativeTransform(file, class_sizes=SIZES, threshold=60, ramp=True, fraction=1)
    counts = sum(replaced(transform, pictures, labels).view(100, 4).sum(0) for _ in range(10))
    # max(0, (60 - n) / (60 - 5)); 1000 draws each.
    for count, size in zip(counts.tolist(), SIZES, strict=True):
        probability = max(0.0, (60 - size) / 55)
        assert abs(count - 1000 * probability) <= 4 * math.sqrt(1000 * probability * (1 - probability))


def test_a_ramp_that_ends_before_the_smallest_class_transforms_nothing(file: Path) -> None:
    pictures, labels, _ = bars(4)
    for threshold in (5, 3):
        transform = sppkit.GenerativeTransform(file, class_sizes=[50, 5], threshold=threshold, ramp=True, fraction=1)
        assert not replaced(transform, pictures, labels).any()


def test_batches_are_drawn_by_seed_and_number_and_can_be_gone_on_with(file: Path) -> None:
    pictures, labels, _ = bars(6)
    one, other = (sppkit.GenerativeTransform(file, seed=seed) for seed in (0, 1))
    batches = [one(pictures, labels)[0] for _ in range(3)]
    assert not torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], other(pictures, labels)[0])
    later = sppkit.GenerativeTransform(Generator.read(file))
    later.load_state_dict({**one.state_dict(), "batches": 2})
    assert torch.equal(later(pictures, labels)[0], batches[2])
    assert later.state_dict() == one.state_dict() == {"batches": 3}


REFUSED = {
    "sizes": ({"threshold": 25}, "threshold=25 needs class_sizes"),
    "ramp": ({"ramp": True}, "ramp=True needs a threshold"),
    "fraction": ({"fraction": 1.5}, "^fraction must be a number from 0 to 1, not 1.5"),
    "seed": ({"seed": -1}, "^seed must be a whole number from 0"),
    "threshold": ({"threshold": -1, "class_sizes": [3]}, "^threshold must be a number from 0"),
    "half": ({"threshold": 4, "class_sizes": [3.5]}, "class_sizes must be whole numbers of pictures"),
    "none": ({"threshold": 4, "class_sizes": []}, "class_sizes must be whole numbers of pictures, one for each class"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_transform_that_makes_no_sense_is_refused(case: tuple[dict, str], file: Path) -> None:
    given, message = case
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.GenerativeTransform(file, **given)


def test_labels_that_do_not_fit_are_refused(file: Path) -> None:
    pictures, labels, _ = bars(4)
    transform = sppkit.GenerativeTransform(file, class_sizes=[9], threshold=9)
    with pytest.raises(sppkit.UsageError, match="class_sizes says nothing of the label 1"):
        transform(pictures, labels)
    with pytest.raises(sppkit.UsageError, match=r"labels must be of the shape \(4,\), not \(3,\)"):
        transform(pictures, labels[:3])
    assert transform.batches == 0


class Known:
    """A generator whose style is one number, added to every pixel, and half of it read back."""

    style = 1

    def __init__(self, effect: float) -> None:
        self.effect, self.seen, self.networks = effect, [], None

    def transform(self, pictures: Tensor, styles: Tensor) -> Tensor:
        self.seen.append(styles[0])
        return pictures + self.effect * styles[:, :, None, None]

    def reconstruct(self, pictures: Tensor) -> Tensor:
        return pictures + 0.25


def test_quality_is_its_definition() -> None:
    known, pictures = Known(0.1), torch.rand(20, 1, 4, 4, dtype=torch.float64)
    order = iter(range(16))
    known.networks = type("Networks", (), {"style": lambda _x: known.seen[next(order)].expand(20, 1) / 2})
    quality = measure_quality(known, pictures)  # type: ignore[arg-type]
    z = torch.stack(known.seen).double()
    assert quality.reconstruction == pytest.approx(0.25)
    assert quality.style_effect == pytest.approx(0.1 * float(z.std(correction=0)), rel=1e-6)
    assert quality.content_effect == pytest.approx(float(pictures.var(0, correction=0).mean().sqrt()), rel=1e-6)
    # z/2 is read: the rest of z is lost.
    expected = 1 - float((z / 2).square().sum() / (z - z.mean()).square().sum())
    assert quality.style_recovered == pytest.approx(expected, rel=1e-6)


def test_what_is_said_of_a_generator_follows_from_its_numbers() -> None:
    said = describe(Quality(0.02, 0.91, 0.1, 0.2))
    assert said == [
        "a picture is rebuilt to within 5 grey levels of 255; another style changes it by 26, another content by 51; "
        "91% of the styles' variance is read back"
    ]
    assert "; nothing of the styles' variance is read back" in describe(Quality(0.02, -2.2, 0.1, 0.2))[0]
    assert "leaves pictures as they are" in describe(Quality(0.02, 0.91, 3.9 / 255, 0.2))[1]
    assert len(describe(Quality(0.02, 0.0, 4.1 / 255, 0.2))) == 1


def test_the_grid_shows_one_picture_of_each_class(file: Path) -> None:
    generator, (pictures, labels, _) = Generator.read(file), bars(16)
    grid = draw_grid(generator, pictures, labels.numpy(), rows=8, styles=3)
    assert grid.shape == (2, 5, 1, 8, 8)
    np.testing.assert_array_equal(grid[:, 0], pictures[:2].numpy())
    torch.testing.assert_close(torch.from_numpy(grid[:, 1]), generator.reconstruct(pictures[:2]))
    # One column, one style.
    style = torch.from_numpy(keyed_generator(0, "git/grid").standard_normal((3, 2), dtype=np.float32))[1]
    torch.testing.assert_close(torch.from_numpy(grid[:, 3]), generator.transform(pictures[:2], style.expand(2, 2)))
