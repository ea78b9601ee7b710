"""Long-tailed sets: the published counts, and what each picture is made of."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import sppkit
from sppkit import UsageError
from sppkit.inputs.long_tails import tail_sizes
from sppkit.streams import keyed_generator


def numbered(classes: int = 4, each: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of one pixel that say which they are."""
    count = classes * each
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1), np.tile(np.arange(classes), each)


def numbers(tail: sppkit.LongTail) -> list[int]:
    return (tail.images.flatten() * 255).round().int().tolist()


def test_the_published_sizes_of_kuzushiji_49() -> None:
    sizes = tail_sizes(49, largest=4828)
    assert sizes[:8] == [4828, 1207, 536, 301, 193, 134, 98, 75]
    assert (sum(sizes), sizes.count(5), sizes.index(5) + 1) == (7864, 21, 29)
    assert sum(tail_sizes(49, largest=4800)) == 7822  # of the released script


def test_no_other_largest_class_gives_the_published_sum() -> None:
    assert [n for n in range(4700, 4950) if sum(tail_sizes(49, largest=n)) == 7864 and n // 4 == 1207] == [4828]


def test_sizes_are_floors_of_the_power_law() -> None:
    assert tail_sizes(10, largest=100) == [100, 25, 11, 6, 5, 5, 5, 5, 5, 5]
    assert tail_sizes(4, largest=8, exponent=1.0, smallest=1) == [8, 4, 2, 2]
    assert tail_sizes(3, largest=7, exponent=0.0, smallest=1) == [7, 7, 7]
    assert tail_sizes(2, largest=3, smallest=5) == [5, 5]


def test_digits() -> None:
    bunch = load_digits()
    tail = sppkit.long_tailed(bunch.images / 16, bunch.target, largest=100)
    assert tail.labels.bincount().sort(descending=True).values.tolist() == [100, 25, 11, 6, 5, 5, 5, 5, 5, 5]
    assert tail.images.shape == (172, 1, 8, 8)
    given = torch.tensor(bunch.images[:, None] / 16, dtype=torch.float32)
    assert torch.equal(tail.images, given[tail.positions])
    assert tail.labels.tolist() == bunch.target[tail.positions].tolist()
    assert len(set(tail.positions.tolist())) == 172


def test_orders_move_classes_and_pictures_and_are_each_the_same_again() -> None:
    pictures, labels = numbered()
    made = [sppkit.long_tailed(pictures, labels, largest=6, smallest=2, order=order) for order in (0, 0, 1, 2, 3)]
    assert numbers(made[0]) == numbers(made[1])
    assert len({tuple(tail.sizes) for tail in made}) > 2
    firsts = {tuple(n for n, label in zip(numbers(tail), tail.labels, strict=True) if label == 0)[:2] for tail in made}
    assert len(firsts) > 1
    assert all(list(tail.sizes.values()) == [6, 2, 2, 2] for tail in made)
    assert Counter(made[0].labels.tolist()) == made[0].sizes


def test_few_pictures_are_repeated_in_turn() -> None:
    pictures, labels = numbered(classes=2, each=3)
    tail = sppkit.long_tailed(pictures, labels, largest=8, smallest=2)
    head, rest = numbers(tail)[:8], numbers(tail)[8:]
    assert head[:3] == head[3:6]
    assert head[6:] == head[:2]
    assert len(set(head[:3])) == 3
    assert len(rest) == len(set(rest)) == 2
    assert tail.record["base_pictures"] == [3, 2]


def test_few_bases_leave_only_the_transformations_to_differ() -> None:
    bunch = load_digits()
    tail = sppkit.long_tailed(bunch.images / 16, bunch.target, largest=100, bases=5, nuisance="rotate")
    for label, size in tail.sizes.items():
        own = tail.labels == label
        assert Counter(Counter(tail.positions[own].tolist()).values()) == {size // 5: 5} or size % 5
        assert len(set(tail.positions[own].tolist())) == 5
        assert len({picture.numpy().tobytes() for picture in tail.images[own]}) == size  # each turned by its own angle
    assert tail.record["bases"] == 5


def test_each_picture_has_a_transformation_of_its_own() -> None:
    pictures, labels = numbered()
    tail = sppkit.long_tailed(pictures, labels, largest=5, smallest=2, seed=4, order=2, nuisance=brighten)
    plain = sppkit.long_tailed(pictures, labels, largest=5, smallest=2, seed=4, order=2)
    streams = [f"long-tail/2/{label}/{j}" for label, size in tail.sizes.items() for j in range(size)]
    added = torch.tensor([keyed_generator(4, stream).random() for stream in streams], dtype=torch.float32)
    torch.testing.assert_close(tail.images, plain.images + added[:, None, None, None])
    assert torch.equal(tail.positions, plain.positions)


def brighten(shown: torch.Tensor, generators: list[np.random.Generator]) -> torch.Tensor:
    return shown + torch.tensor([g.random() for g in generators], dtype=shown.dtype)[:, None, None, None]


def test_what_is_held_out_is_in_no_set() -> None:
    pictures, labels = numbered(classes=3, each=20)
    made = [sppkit.long_tailed(pictures, labels, largest=60, order=order, validation=0.2) for order in range(3)]
    held_out = made[0].held_out.tolist()
    assert len(held_out) == 12
    assert all(tail.held_out.tolist() == held_out for tail in made)
    assert not any(set(held_out) & set(tail.positions.tolist()) for tail in made)


def test_the_record_makes_the_set_again() -> None:
    pictures, labels = numbered()
    tail = sppkit.long_tailed(pictures, labels, largest=9, exponent=1.5, smallest=2, seed=3, order=8, nuisance="rotate")
    record = json.loads(json.dumps(tail.record))
    asked = ("largest", "exponent", "smallest", "seed", "order", "nuisance", "bases", "validation")
    again = sppkit.long_tailed(pictures, labels, **{name: record[name] for name in asked})
    assert torch.equal(again.images, tail.images)
    assert record["pictures"] == len(tail.labels) == sum(record["sizes"])
    assert record["classes"] == list(tail.sizes)


def test_kuzushiji_49_from_its_files(tmp_path: Path) -> None:
    """49 classes as in the published files, of uneven sizes, one array per file."""
    labels = np.repeat(np.arange(49, dtype=np.uint8), [60 + label % 7 for label in range(49)])
    np.savez(tmp_path / "k49-train-imgs.npz", np.zeros((len(labels), 28, 28), np.uint8))
    np.savez(tmp_path / "k49-train-labels.npz", labels)
    tail = sppkit.long_tailed(
        tmp_path / "k49-train-imgs.npz", tmp_path / "k49-train-labels.npz", nuisance="background", validation=0.2
    )
    assert tail.images.shape == (7864, 1, 28, 28)
    levels = (tail.images[:, 0, 0, 0] * 255).round()
    assert (int(levels.min()), int(levels.max())) == (0, 99)
    assert bool((tail.images == tail.images[:, :, :1, :1]).all())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"largest": 0}, "--largest must be a whole number from 1"),
        ({"largest": 9, "smallest": 0}, "--smallest must be a whole number from 1"),
        ({"largest": 9, "exponent": -1}, "--exponent must be a number from 0 to 100, not -1."),
        ({"largest": 9, "bases": 0}, "--bases must be a whole number from 1"),
        ({"largest": 9, "validation": 1.0}, "--validation must be a number from 0 to 0.9, not 1.0."),
        ({"largest": 9, "order": -1}, "--order must be a whole number from 0"),
        ({"largest": 9, "nuisance": "apr-p"}, "apr-p makes one picture of two, whose labels can differ"),
        ({"largest": 9, "nuisance": "turn"}, "unknown nuisance 'turn'"),
        ({"images": np.full((28, 1, 1), 2.0)}, "pictures must be in [0, 1], or uint8 from 0 to 255"),
        ({"labels": [0]}, "there are 28 pictures and 1 labels"),
        ({"images": "x.npz"}, "images are a path, and labels are not"),
        ({"images": "x.npz", "labels": None}, "no such file or folder as --input: 'x.npz'."),
    ],
)
def test_what_makes_no_set(options: dict[str, object], text: str) -> None:
    pictures, labels = numbered()
    asked = {"images": pictures, "labels": labels, "largest": 9} | options
    with pytest.raises(UsageError, match=re.escape(text)):
        sppkit.long_tailed(asked.pop("images"), asked.pop("labels"), **asked)


def test_a_class_whose_pictures_are_all_held_out() -> None:
    with pytest.raises(
        UsageError, match=r"^all pictures of class \d+ are held out for validation; set a smaller share"
    ):
        sppkit.long_tailed(*numbered(classes=20, each=1), largest=5, validation=0.9)
