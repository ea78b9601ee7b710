"""What a network takes: told by the network, by the user, or asked for; tokens, and batches by keyword."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from networks import Language, Net
from sppkit.config.resolve import resolve_config
from sppkit.errors import UsageError
from sppkit.inputs.keywords import Beside, by_keyword
from sppkit.inputs.load import load_inputs
from sppkit.inputs.tokens import draw_tokens, load_tokens
from sppkit.models.loading.form import InputForm
from sppkit.models.loading.infer import choose_form, infer_form


class Taking(nn.Linear):
    def forward(self, input_ids: Any = None, pixel_values: Any = None, decoder_input_ids: Any = None) -> None: ...


def stand_in(main: str, kind: type[nn.Linear] = Taking, **config: Any) -> nn.Module:
    model = kind(3, 3)
    model.main_input_name, model.config = main, SimpleNamespace(model_type="x", **config)
    return model


def of_timm(first: nn.Module, **config: Any) -> nn.Module:
    model = nn.Sequential(first)
    model.pretrained_cfg = config
    return model


def with_patches(size: tuple[int, int]) -> nn.Module:
    model = of_timm(nn.Conv2d(3, 4, 4), input_size=(3, 224, 224), first_conv="0")
    model.patch_embed = SimpleNamespace(img_size=size)
    return model


text = {"vocab_size": 90, "max_position_embeddings": 512}
TOLD: dict[str, tuple[nn.Module, tuple[int, ...] | None, int | None, str | None]] = {
    "timm": (of_timm(nn.Conv2d(3, 4, 3), input_size=(3, 160, 192), first_conv="0"), (3, 160, 192), None, None),
    "timm, grey": (of_timm(nn.Conv2d(1, 4, 3), input_size=(3, 160, 160), first_conv=("0",)), (1, 160, 160), None, None),
    "timm, resized": (with_patches((64, 32)), (3, 64, 32), None, None),
    "text": (stand_in("input_ids", **text), (128,), 90, "input_ids"),
    "short text": (stand_in("input_ids", vocab_size=90, n_positions=20), (20,), 90, "input_ids"),
    "text inside": (stand_in("input_ids", text_config=SimpleNamespace(**text)), (128,), 90, "input_ids"),
    "pictures": (stand_in("pixel_values", image_size=64, num_channels=1), (1, 64, 64), None, "pixel_values"),
    "oblong pictures": (stand_in("pixel_values", image_size=(64, 32)), (3, 64, 32), None, "pixel_values"),
    "films": (stand_in("pixel_values", image_size=64, num_frames=8), (8, 3, 64, 64), None, "pixel_values"),
    "sound": (stand_in("input_values"), (16_000,), None, "input_values"),
    "sound in channels": (stand_in("input_values", audio_channels=2), (2, 16_000), None, "input_values"),
    "spectrogram": (stand_in("input_values", num_mel_bins=128, max_length=1024), (1024, 128), None, "input_values"),
    "frames": (stand_in("input_features", num_mel_bins=80, max_source_positions=50), (80, 100), None, "input_features"),
    "speech": (stand_in("input_features", input_feat_per_channel=80), (128, 80), None, "input_features"),
    "something else": (stand_in("inputs"), None, None, "inputs"),
    "convolution": (Net(), (3, 48, 48), None, None),
    "linear": (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), (784,), None, None),
    "embedding": (Language(), None, 50, None),
    "attention": (nn.TransformerEncoderLayer(8, 2), None, None, None),
    "recurrent": (nn.Sequential(nn.Linear(3, 4), nn.LSTM(4, 4)), None, None, None),
    "one-dimensional": (nn.Conv1d(3, 4, 3), None, None, None),
    "nothing": (nn.ReLU(), None, None, None),
}


@pytest.mark.parametrize(("model", "shape", "vocab", "keyword"), TOLD.values(), ids=TOLD)
def test_what_networks_tell(
    model: nn.Module, shape: tuple[int, ...] | None, vocab: int | None, keyword: str | None
) -> None:
    form = infer_form(model, image_size=48)
    assert (form.shape, form.vocab, form.keyword) == (shape, vocab, keyword)


def test_networks_that_take_more_than_one_thing() -> None:
    both = infer_form(stand_in("input_ids", is_encoder_decoder=True, **text), image_size=48)
    assert [(item.keyword, item.shape, item.vocab) for item in both.others] == [("decoder_input_ids", (128,), 90)]
    parts = {"text_config": SimpleNamespace(**text), "vision_config": SimpleNamespace(image_size=32)}
    compared = infer_form(stand_in("input_ids", **parts), image_size=48)
    assert [(item.keyword, item.shape, item.vocab) for item in compared.others] == [("pixel_values", (3, 32, 32), None)]
    # Not where its forward pass takes none.
    assert infer_form(stand_in("input_ids", nn.Linear, is_encoder_decoder=True, **text), image_size=48).others == ()
    # A model that reads pictures into its text does without.
    assert infer_form(stand_in("input_ids", image_token_id=5, **parts), image_size=48).others == ()


IMAGE = InputForm((3, 224, 224), "told")
TEXT = InputForm((128,), "told", 90, "input_ids")
GUESS = InputForm(None, "guessed", 90)


@pytest.mark.parametrize(
    ("told", "flags", "shape", "vocab", "origin"),
    [
        (IMAGE, {}, (3, 224, 224), None, "told"),
        (IMAGE, {"shape": "1,8,9"}, (1, 8, 9), None, "--shape"),
        (IMAGE, {"image_size": "32"}, (3, 32, 32), None, "told and --image-size"),
        (InputForm((16, 3, 8, 8), "told"), {"image_size": "32"}, (16, 3, 32, 32), None, "told and --image-size"),
        (IMAGE, {"input": "tokens", "vocab": "5", "shape": "7"}, (7,), 5, "--shape"),
        (TEXT, {}, (128,), 90, "told"),
        (TEXT, {"shape": "7"}, (7,), 90, "--shape"),
        (TEXT, {"input": "tokens", "vocab": "5"}, (128,), 5, "told"),
        (TEXT, {"input": "ids.npy"}, (), 90, "ids.npy"),
        (GUESS, {"input": "ids.npy"}, (), 90, "ids.npy"),
        (GUESS, {"input": "a.png", "shape": "3,8,8"}, (3, 8, 8), 90, "--shape"),
        (InputForm(None, ""), {"input": "ids.npy", "vocab": "5"}, (), 5, "ids.npy"),
        (GUESS, {"shape": "7"}, (7,), 90, "--shape"),
        (GUESS, {"input": "gaussian", "shape": "7,3"}, (7, 3), None, "--shape"),
    ],
)
def test_the_users_word_goes_before_the_networks(
    told: InputForm, flags: dict[str, str], shape: tuple[int, ...], vocab: int | None, origin: str
) -> None:
    resolved = resolve_config({"model": "a.py:b", **flags})
    form = choose_form(told, resolved.config, flags.keys(), "a.py:b")
    assert (form.shape, form.vocab, form.origin) == (shape, vocab, origin)


@pytest.mark.parametrize(
    ("told", "flags", "message"),
    [
        (InputForm(None, ""), {}, "the shape of one sample for a.py:b can't be told from it;\nsay it: --shape 3"),
        (IMAGE, {"input": "tokens", "vocab": "5"}, "how many tokens a.py:b takes in a sequence can't be told"),
        (GUESS, {"input": "gaussian"}, "the shape of one sample for a.py:b can't be told from it"),
        (GUESS, {}, "how many tokens a.py:b takes in a sequence can't be told from it: say --shape 128"),
        (IMAGE, {"input": "tokens", "shape": "7"}, "how many different tokens a.py:b knows can't be told from it: say"),
        (IMAGE, {"vocab": "5"}, "--vocab is the number of different tokens; it belongs to --input tokens."),
        (TEXT, {"image_size": "8"}, "--image-size is for pictures, and a.py:b does not take them"),
        (TEXT, {"input": "gaussian"}, "a.py:b takes tokens, not --input gaussian; leave --input out"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_asked_for(told: InputForm, flags: dict[str, str], message: str) -> None:
    resolved = resolve_config({"model": "a.py:b", **flags})
    with pytest.raises(UsageError) as caught:
        choose_form(told, resolved.config, flags.keys(), "a.py:b")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_tokens_are_keyed_whole_numbers() -> None:
    inputs = load_tokens(shape=(6,), vocab=50, batch_size=3, batches=2, seed=1)
    first, second = inputs.batches()
    assert (first.dtype, first.shape, inputs.shape) == (torch.int64, (3, 6), (3, 6))
    assert torch.equal(first, draw_tokens((3, 6), 50, 1, "input/0"))
    assert torch.equal(second, draw_tokens((3, 6), 50, 1, "input/1"))
    assert not torch.equal(first, draw_tokens((3, 6), 50, 2, "input/0"))
    # The first sequences are the same whatever the batch size.
    assert torch.equal(first[:2], draw_tokens((2, 6), 50, 1, "input/0"))
    (warmup,) = inputs.warmup(1)
    assert torch.equal(warmup, draw_tokens((3, 6), 50, 1, "input/2"))
    assert inputs.description | {"stream": ""} == {
        "kind": "tokens", "source": "tokens", "batch_shape": [3, 6], "batches": 2, "samples_used": 6,
        "samples_available": None, "normalized": "uniform over 50 tokens", "vocab": 50, "stream": "", "seed": 1,
    }  # fmt: skip


def test_tokens_are_uniform() -> None:
    counts = torch.bincount(draw_tokens((100, 1000), 10, 0, "input/0").flatten(), minlength=10).double()
    assert len(counts) == 10
    # Each count is binomial: 10 000 with a standard deviation of sqrt(n p (1 - p)) = 95; five of that.
    assert (counts - 10_000).abs().max() < 5 * math.sqrt(100_000 * 0.1 * 0.9)


def test_batches_by_keyword() -> None:
    inputs = load_tokens(shape=(6,), vocab=50, batch_size=3, batches=2, seed=1)
    beside = [Beside("decoder_input_ids", (4,), 50), Beside("pixel_values", (3, 8, 8), None)]
    named = by_keyword(inputs, "input_ids", beside, seed=1)
    first, second = named.batches()
    assert list(first) == ["input_ids", "decoder_input_ids", "pixel_values"]
    assert torch.equal(first["input_ids"], draw_tokens((3, 6), 50, 1, "input/0"))
    assert torch.equal(second["decoder_input_ids"], draw_tokens((3, 4), 50, 1, "input/1/decoder_input_ids"))
    assert first["pixel_values"].shape == (3, 3, 8, 8)
    assert not torch.equal(first["pixel_values"], second["pixel_values"])
    (warmup,) = named.warmup(1)
    assert torch.equal(warmup["input_ids"], draw_tokens((3, 6), 50, 1, "input/2"))
    assert named.description["keywords"] == list(first)


def test_pictures_by_keyword_have_an_end(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 3, 8, 8), np.float32))
    inputs = load_inputs(str(tmp_path / "x.npy"), shape=(3, 8, 8), batch_size=2, batches=5, seed=0)
    named = by_keyword(inputs, "pixel_values", [Beside("input_ids", (4,), 9)], seed=0)
    assert [len(batch["input_ids"]) for batch in named.batches()] == [2, 1]
    assert [len(batch["pixel_values"]) for batch in named.warmup(3)] == [2, 1, 2]


@pytest.mark.parametrize(
    ("stored", "sample", "message"),
    [
        ((4, 6), (6,), ""),
        ((4, 5, 6), (7, 6), ""),
        ((6,), (6,), "holds 6; 2 axes are needed: samples x 6. Add the first axis: array[None]."),
        ((4, 5, 6), (6,), "holds 4x5x6; 2 axes are needed: samples x 6. Reshape it."),
    ],
)
def test_arrays_of_other_axes(stored: tuple[int, ...], sample: tuple[int, ...], message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(stored, np.float32))
    arguments = {"shape": sample, "batch_size": 4, "batches": 1, "seed": 0}
    if not message:
        assert load_inputs(str(tmp_path / "x.npy"), **arguments).shape == stored
        return
    with pytest.raises(UsageError) as caught:
        load_inputs(str(tmp_path / "x.npy"), **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_tokens_from_a_file(dtype: type, tmp_path: Path) -> None:
    ids = np.arange(15).reshape(5, 3).astype(dtype)
    np.save(tmp_path / "ids.npy", ids)
    inputs = load_inputs(str(tmp_path / "ids.npy"), shape=(), batch_size=2, batches=9, seed=0, vocab=15)
    batches = list(inputs.batches())
    assert torch.equal(torch.cat(batches), torch.from_numpy(ids.astype(np.int64)))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert (inputs.shape, inputs.description["samples_used"], inputs.description["vocab"]) == ((2, 3), 5, 15)
    with pytest.raises(UsageError, match=r"holds numbers from 12 to 14, and tokens are 0 to 13\."):
        load_inputs(str(tmp_path / "ids.npy"), shape=(), batch_size=2, batches=9, seed=0, vocab=14)


def test_the_largest_vocabulary_is_read_exactly(tmp_path: Path) -> None:
    ids = np.array([[9_999_999, 9_999_998, 2**24 + 1]])
    np.save(tmp_path / "ids.npy", ids[:, :2])
    arguments = {"shape": (), "batch_size": 1, "batches": 1, "seed": 0, "vocab": 10_000_000}
    assert next(load_inputs(str(tmp_path / "ids.npy"), **arguments).batches()).tolist() == ids[:, :2].tolist()
    np.save(tmp_path / "ids.npy", ids)
    with pytest.raises(UsageError, match="and tokens are 0 to 9999999"):
        load_inputs(str(tmp_path / "ids.npy"), **arguments)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4), (0, 3), (3, 0)])
def test_tokens_of_other_axes_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.zeros(shape, np.int64))
    with pytest.raises(UsageError, match="2 axes are needed: samples x tokens"):
        load_inputs(str(tmp_path / "ids.npy"), shape=(), batch_size=2, batches=1, seed=0, vocab=9)
