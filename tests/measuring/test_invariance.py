"""eKLD and its companions against sums written out by hand, and a model that is left as it was."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import sppkit
from sppkit import MeasurementError, Site, SppkitError, UsageError
from sppkit.streams import keyed_generator
from traces import ACTS, Net, batch, state, with_gradients

COLUMNS = [
    *("class", "samples", "ekld", "ekld_se", "ekld_median", "consistency", "consistency_se"),
    *("confidence", "accuracy", "transformed_accuracy"),
]


class Brightness(nn.Module):
    """Two classes: the logit of class 1 is the picture's mean, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        z = self.factor * (x.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-z, z], dim=1)


def pictures(samples: int = 6, channels: int = 1, side: int = 4) -> tuple[Tensor, list[int]]:
    values = np.random.default_rng(5).random((samples, channels, side, side), dtype=np.float32)
    return torch.from_numpy(values), [index % 2 for index in range(samples)]


def darker(shown: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    factors = torch.tensor([generator.random() for generator in generators], dtype=shown.dtype)
    return shown * factors[:, None, None, None]


def probabilities(picture: np.ndarray, factor: float) -> list[float]:
    z = factor * (float(picture.mean(dtype=np.float64)) - 0.5)
    return [1 / (1 + math.exp(2 * z)), 1 / (1 + math.exp(-2 * z))]


def test_ekld_is_the_mean_of_hand_computed_divergences_of_pairs() -> None:
    shown, labels = pictures()
    draws, seed, factor = 3, 7, 4.0
    table = sppkit.invariance(Brightness(factor), shown, labels, nuisance=darker, draws=draws, seed=seed)
    assert list(table) == COLUMNS
    for label in (0, 1):
        means, every, same = [], [], []
        for index in range(label, 6, 2):
            p = probabilities(shown[index].numpy(), factor)
            own = []
            for draw in range(draws):
                scale = np.float32(keyed_generator(seed, f"nuisance/darker/{draw}/{index}").random())
                q = probabilities(shown[index].numpy() * scale, factor)
                own.append(math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
                same.append((p[0] < p[1]) == (q[0] < q[1]))
            means.append(math.fsum(own) / draws)
            every += own
        row = table.iloc[label]
        # The network computes in float32: a mean of 16 pixels, times 4, is off by 1e-7.
        assert row["ekld"] == pytest.approx(np.mean(means), rel=1e-5)
        assert row["ekld_se"] == pytest.approx(np.std(means, ddof=1) / math.sqrt(3), rel=1e-5)
        assert row["ekld_median"] == pytest.approx(np.median(every), rel=1e-5)
        assert row["consistency"] == np.mean(same)
        assert (row["class"], row["samples"]) == (label, 3)


def test_pairs_are_one_picture_each() -> None:
    """A transformation that does nothing gives 0, although the pictures of a class differ."""
    shown, labels = pictures()
    table = sppkit.invariance(Brightness(50.0), shown, labels, nuisance=lambda x, _: x.clone())
    assert table["ekld"].tolist() == table["ekld_se"].tolist() == [0.0, 0.0]
    assert table["consistency"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("nuisance", ["rotate", "background", "dilate"])
def test_an_invariant_classifier_has_none(nuisance: str) -> None:
    class Blind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[3.0, -1.0]]).expand(len(x), 2)

    shown, labels = pictures()
    shown[:, :, 0] = 0.0
    table = sppkit.invariance(Blind(), shown, labels, nuisance=nuisance)
    assert table["ekld"].tolist() == table["ekld_se"].tolist() == [0.0, 0.0]


def test_confidence_and_accuracy() -> None:
    shown = torch.tensor([0.1, 0.9, 0.8, 0.2]).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    dark = sppkit.invariance(Brightness(3.0), shown, [0, 1, 0, 1], nuisance=lambda x, _: 0 * x)
    assert dark["accuracy"].tolist() == [0.5, 0.5]
    assert dark["transformed_accuracy"].tolist() == [1.0, 0.0]
    assert dark["consistency"].tolist() == [0.5, 0.5]
    largest = [max(probabilities(picture.numpy(), 3.0)) for picture in shown]
    assert dark["confidence"].tolist() == pytest.approx([np.mean(largest[::2]), np.mean(largest[1::2])], rel=1e-5)


def test_batches_and_seeds() -> None:
    shown, labels = pictures(samples=10)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))

    def ekld(**options: int) -> list[float]:
        return sppkit.invariance(model, shown, labels, nuisance="rotate", draws=2, **options)["ekld"].tolist()

    assert ekld(batch_size=3) == pytest.approx(ekld(batch_size=64), rel=1e-4)  # float32 sums in another order
    assert ekld(seed=1) == ekld(seed=1)
    assert ekld(seed=1) != ekld(seed=2)


def test_one_picture_of_a_class_has_no_error() -> None:
    shown, _ = pictures(samples=3)
    table = sppkit.invariance(Brightness(), shown, [0, 0, 1], nuisance="rotate:degrees=30")
    assert table["ekld_se"].isna().tolist() == [False, True]
    assert table["ekld"].notna().all()


def test_training_sizes_are_a_column() -> None:
    shown, labels = pictures()
    ask = {"nuisance": darker, "draws": 1}
    by_class = sppkit.invariance(Brightness(), shown, labels, **ask, train_sizes={1: 5, 0: 100, 7: 1})
    in_order = sppkit.invariance(Brightness(), shown, labels, **ask, train_sizes=[100, 5])
    assert list(by_class) == [*COLUMNS, "train_size"]
    assert by_class["train_size"].tolist() == in_order["train_size"].tolist() == [100, 5]
    with pytest.raises(
        UsageError, match=r"^no number of training examples is given for class 1, of which there are pictures\.$"
    ):
        sppkit.invariance(Brightness(), shown, labels, **ask, train_sizes={0: 100})


def test_the_nuisance_comes_before_the_normalization() -> None:
    class Seen(Brightness):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.clone())
            return super().forward(x)

    seen: list[Tensor] = []
    shown = torch.full((2, 3, 2, 2), 0.5)
    shown[1] = 0.25
    mean, deviation = (0.5, 0.25, 0.0), (0.5, 0.5, 1.0)
    sppkit.invariance(Seen(), shown, [0, 1], nuisance=lambda x, _: x / 2, draws=1, normalize=(mean, deviation))
    assert seen[-2][0, :, 0, 0].tolist() == [0.0, 0.5, 0.5]
    assert seen[-1][0, :, 0, 0].tolist() == [-0.5, 0.0, 0.25]


def test_pictures_are_cast_to_what_the_network_computes_in() -> None:
    shown, labels = pictures()
    ask = {"nuisance": "rotate", "draws": 2}
    single = sppkit.invariance(Brightness(4.0), shown, labels, **ask)
    pd.testing.assert_frame_equal(sppkit.invariance(Brightness(4.0), shown.double().numpy(), labels, **ask), single)
    double = sppkit.invariance(Brightness(4.0).double(), shown, labels, **ask)
    assert double["ekld"].tolist() == pytest.approx(single["ekld"].tolist(), rel=1e-4)
    half = sppkit.invariance(Brightness(4.0).bfloat16(), shown.bfloat16(), labels, **ask)
    assert half["ekld"].tolist() == pytest.approx(single["ekld"].tolist(), rel=0.2)  # 8 bits of mantissa


def test_other_values_are_for_shifts_that_take_any() -> None:
    _, labels = pictures()
    wide = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert min(sppkit.invariance(Brightness(), wide, labels, nuisance="apr-p")["ekld"]) > 0
    refuse("the nuisance rotate is for pictures in [0, 1]", Brightness(), inputs=wide)


def test_partners_are_drawn_among_all_pictures() -> None:
    shown, labels = pictures(samples=8)
    one, many = (
        sppkit.invariance(Brightness(5.0), shown, labels, nuisance="apr-p:axes=hw", batch_size=size)["ekld"]
        for size in (3, 8)
    )
    assert one.tolist() == pytest.approx(many.tolist(), rel=1e-4)
    assert min(one) > 0


def test_eval_mode_is_set_and_restored() -> None:
    shown, labels = pictures()
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.9), nn.Linear(16, 2))
    model[1].eval()
    before = state(model)
    trained = sppkit.invariance(model, shown, labels, nuisance="rotate", draws=2)
    assert state(model) == before
    model.eval()
    assert sppkit.invariance(model, shown, labels, nuisance="rotate", draws=2).equals(trained)


class Classifier(Net):
    """A network that does what it should not, and returns logits."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean(dim=(2, 3))


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("function", [sppkit.invariance, sppkit.invariance_by_block], ids=lambda item: item.__name__)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_trace_is_left(act: Callable[[Net], object], function: Callable[..., object], raises: bool) -> None:
    done: list[None] = []  # of many passes one does it: what is deleted can't be deleted again

    def act_once(net: Net) -> None:
        if not done:
            done.append(None)
            act(net)

    model = with_gradients(Classifier(act_once, raises=raises))
    before = state(model)
    ask = {"nuisance": lambda x, _: x.flip(-1), "draws": 1}
    if raises:
        with pytest.raises(MeasurementError, match="the forward pass failed on pictures of shape"):
            function(model, batch().sigmoid(), [0, 1], **ask)
    else:
        with contextlib.suppress(SppkitError):  # weights that change between passes answer differently, or are gone
            function(model, batch().sigmoid(), [0, 1], **ask)
    assert done
    assert state(model) == before


def refuse(text: str, model: nn.Module, **changed: object) -> None:
    shown, labels = pictures()
    asked = {"inputs": shown, "labels": labels, "nuisance": "rotate"} | changed
    with pytest.raises(UsageError, match=re.escape(text)):
        sppkit.invariance(model, asked.pop("inputs"), asked.pop("labels"), **asked)


class Returns(nn.Module):
    def __init__(self, make: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> object:
        return self.make(x)


def test_what_is_no_classifier() -> None:
    refuse("must return logits of shape (pictures, classes), here (2, K), not shape (2, 1, 4, 4)", Returns(lambda x: x))
    refuse("must return logits of shape (pictures, classes), here (2, K), not str.", Returns(lambda x: "cat"))
    refuse("here (2, K), not shape (1, 2), torch.float32", Returns(lambda x: torch.zeros(1, 2)))
    refuse("not shape (2, 3), torch.int64", Returns(lambda x: torch.zeros(len(x), 3, dtype=torch.int64)))
    refuse("returns one number per picture; a classifier of two classes needs two", Returns(lambda x: x[:, 0, 0, :1]))
    softmax = Returns(lambda x: Brightness()(x).softmax(dim=1))
    refuse("Returns returns probabilities, which sum to 1; logits are needed, or the logarithm of these.", softmax)
    with pytest.raises(MeasurementError, match="returned logits that are nan or infinite"):
        sppkit.invariance(Returns(lambda x: torch.full((len(x), 2), torch.nan)), *pictures(), nuisance="rotate")
    refuse("must be a torch.nn.Module; this is", "resnet50")


def test_logarithms_of_probabilities_are_logits() -> None:
    shown, labels = pictures()
    plain, logarithms = (
        sppkit.invariance(model, shown, labels, nuisance="rotate")
        for model in (Brightness(), Returns(lambda x: Brightness()(x).log_softmax(dim=1)))
    )
    # float32 rounds them twice: 1e-7, of which a divergence of 1e-3 sees the root.
    pd.testing.assert_frame_equal(plain, logarithms, rtol=1e-3)


@pytest.mark.parametrize(
    "wrap",
    [lambda z: (z, None), lambda z: {"logits": z}, lambda z: pd.Series({"logits": z})],
    ids=["tuple", "dict", "field"],
)
def test_logits_are_found_in_what_libraries_return(wrap: Callable[[Tensor], object]) -> None:
    shown, labels = pictures()
    plain = sppkit.invariance(Brightness(), shown, labels, nuisance="rotate")
    assert sppkit.invariance(Returns(lambda x: wrap(Brightness()(x))), shown, labels, nuisance="rotate").equals(plain)


def test_answers_that_depend_on_the_batch_or_on_chance_are_refused() -> None:
    by_batch = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16, track_running_stats=False), nn.Linear(16, 2))
    refuse("Sequential answers differently to the same picture in another batch, in eval mode", by_batch)
    refuse(
        "or is random; invariance can be measured of a function of one picture.",
        Returns(lambda x: torch.rand(len(x), 2)).eval(),
    )


def test_arguments_that_make_no_sense() -> None:
    refuse("there are 6 pictures and 2 labels", Brightness(), labels=[0, 1])
    refuse("labels hold only class 0; a classifier is measured on two classes at least.", Brightness(), labels=[0] * 6)
    refuse(
        "there are pictures of class 2, and Brightness has 2 outputs, of the classes 0 to 1.",
        Brightness(),
        labels=[1, 2] * 3,
    )
    refuse(
        "these have other values.\nGive them before normalization", Brightness(), inputs=torch.full((6, 1, 4, 4), 2.0)
    )
    refuse("unknown nuisance 'rotat'; did you mean 'rotate'?", Brightness(), nuisance="rotat")
    refuse("nuisance must be a name of sppkit list nuisances, or a function of pictures", Brightness(), nuisance=3)
    refuse("must be a whole number", Brightness(), draws=0)
    refuse(
        "the nuisance background changed none of the 6 pictures: there is nothing to be invariant to.",
        Brightness(),
        inputs=pictures()[0] / 2 + 0.25,
        nuisance="background",
    )
    refuse("the nuisance first returned torch.float32 of shape (1, 1, 4, 4)", Brightness(), nuisance=first)
    refuse("returned values that are not finite.", Brightness(), nuisance=lambda x, _: x / 0)
    refuse(
        "normalize needs one mean, or one for each of 1 channel, not 0.5, 0.5.", Brightness(), normalize=((0.5, 0.5), 1)
    )
    refuse("normalize needs a standard deviation above 0, not 0.", Brightness(), normalize=(0, 0))
    refuse("normalize must be (mean, standard deviation)", Brightness(), normalize=0.5)


def first(shown: Tensor, _generators: object) -> Tensor:
    return shown[:1]


# Block by block.


def slow_signal_to_shift(h: np.ndarray, moved: np.ndarray, own: list[int]) -> float:
    """1 - E|h(Tx) - h(x)|^2 / E|h(x') - h(x)|^2 from features (N, C) and transformed ones (draws, N, C)."""
    steps = [((moved[draw, i] - h[i]) ** 2).sum() for i in own for draw in range(len(moved))]
    apart = [((h[j] - h[i]) ** 2).sum() for i in own for j in range(len(h)) if j != i]
    return 1 - np.mean(steps) / np.mean(apart)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_signal_to_shift_is_its_definition(batch_size: int) -> None:
    shown, labels = pictures(samples=7, channels=3)
    labels = [0, 1, 0, 1, 2, 2, 2]
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)).eval()
    table = sppkit.invariance_by_block(model, shown, labels, nuisance=darker, draws=2, seed=3, batch_size=batch_size)

    def features(x: Tensor) -> np.ndarray:
        return model[:2](x).mean(dim=(2, 3)).detach().double().numpy()

    moved = [darker(shown, [keyed_generator(3, f"nuisance/darker/{draw}/{i}") for i in range(7)]) for draw in range(2)]
    h, transformed = features(shown), np.stack([features(x) for x in moved])
    rows = table[table["name"] == "1"].set_index("class")["signal_to_shift"]
    for label, own in [(pd.NA, list(range(7))), (0, [0, 2]), (1, [1, 3]), (2, [4, 5, 6])]:
        assert rows[rows.index.isna() if label is pd.NA else rows.index == label].item() == pytest.approx(
            slow_signal_to_shift(h, transformed, own), rel=1e-4
        )
    assert list(table) == [
        *("block", "stage", "name", "channels", "class", "samples", "signal_to_shift", "signal_to_shift_se")
    ]
    assert table.loc[table["class"].isna(), "name"].tolist() == ["0", "1", "2", "3", "4"]


def test_residual_blocks_are_found() -> None:
    model = sppkit.build_model("nf-resnet", stages=(1, 1), width=0.125)
    shown, labels = pictures(channels=3, side=32)
    table = sppkit.invariance_by_block(Pooled(model), shown, labels, nuisance="rotate", draws=1)
    found = sppkit.measure(Pooled(model), shown, mode="eval")
    assert table.loc[table["class"].isna(), "name"].tolist() == found["name"].tolist()
    assert len(found) > 2


class Pooled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        output = self.inner(x)
        return output.flatten(2).mean(dim=2) if output.ndim > 2 else output


def test_a_flip_leaves_pooled_features_of_pixels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), Pooled(nn.Identity()))
    shown, labels = pictures()
    table = sppkit.invariance_by_block(model, shown, labels, nuisance=lambda x, _: x.flip(-1))
    assert table["signal_to_shift"].tolist() == pytest.approx([1.0] * len(table), abs=1e-10)


def test_behind_instance_norm_there_is_nothing_to_compare() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4), nn.ReLU(), Pooled(nn.Identity()))
    shown, labels = pictures(side=8)
    table = sppkit.invariance_by_block(model, shown, labels, nuisance=darker)
    by_name = table[table["class"].isna()].set_index("name")["signal_to_shift"]
    assert math.isnan(by_name["1"])
    assert by_name.drop("1").notna().all()


def test_a_row_that_is_no_picture_has_no_number() -> None:
    class Folded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return self.project(x.reshape(2 * len(x), -1)).reshape(len(x), -1)[:, :2]

        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(8, 8)

    shown, labels = pictures()
    table = sppkit.invariance_by_block(Folded(), shown, labels, nuisance=darker)
    assert table.loc[table["name"] == "project", "signal_to_shift"].isna().all()


def test_a_site_that_a_pass_does_not_reach_has_no_number() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.bright = nn.Conv2d(1, 2, 1), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            h = self.always(x)
            h = h if x.mean() < 0.2 else self.bright(h)
            return h.mean(dim=(2, 3))

        def signal_sites(self) -> list[Site]:
            return [
                Site(0, 0, name, "block_output", name) if name == "always" else Site(1, 1, name, "block_output", name)
                for name in ("always", "bright")
            ]

    shown, labels = pictures()
    table = sppkit.invariance_by_block(Gated(), shown, labels, nuisance=lambda x, _: x / 10, draws=1)
    by_name = table[table["class"].isna()].set_index("name")["signal_to_shift"]
    assert math.isnan(by_name["bright"])
    assert math.isfinite(by_name["always"])


# Amplitudes and phases.


class Levels(nn.Module):
    """Classes by the picture's mean brightness, which is its amplitude at frequency 0."""

    def forward(self, x: Tensor) -> Tensor:
        levels = torch.linspace(0, 1, 20)
        return -((x.mean(dim=(1, 2, 3))[:, None] - levels) ** 2) * 1000


class Peak(nn.Module):
    """Classes by the place of the brightest pixel, which its phases tell of a picture of one point."""

    def forward(self, x: Tensor) -> Tensor:
        return 100 * x.flatten(1)


def test_a_classifier_of_brightness_goes_by_amplitudes() -> None:
    values = torch.from_numpy(np.random.default_rng(0).random((30, 1, 6, 6), dtype=np.float32))
    shown = values * torch.linspace(0.1, 1, 30)[:, None, None, None]
    shares = sppkit.spectrum_shares(Levels(), shown, draws=3)
    assert (shares.amplitude, shares.amplitude_se, shares.phase, shares.phase_se) == (1.0, 0.0, 0.0, 0.0)
    assert 30 < shares.pairs <= 90


def test_a_classifier_of_place_goes_by_phases() -> None:
    points = torch.eye(16).reshape(16, 1, 4, 4) * torch.linspace(0.2, 1, 16)[:, None, None, None]
    shares = sppkit.spectrum_shares(Peak(), points, axes="hw", draws=2)
    assert (shares.amplitude, shares.phase) == (0.0, 1.0)


def test_shares_are_counted_over_pairs_with_two_answers() -> None:
    class Alternating(nn.Module):
        """Answers by the brightness of the corner: neither amplitudes nor phases alone."""

        def forward(self, x: Tensor) -> Tensor:
            z = (x[:, 0, 0, 0] - 0.5) * 10
            return torch.stack([-z, z], dim=1)

    shown, _ = pictures(samples=40)
    found = sppkit.spectrum_shares(Alternating(), shown, draws=2, seed=1)
    answers = (shown[:, 0, 0, 0] > 0.5).tolist()
    pairs, amplitude, phase = 0, 0, 0
    for draw in range(2):
        order = keyed_generator(1, f"spectrum/{draw}").permutation(40)
        for a, b in enumerate(order):
            if answers[a] == answers[b]:
                continue
            x, y = (np.fft.fftn(shown[i].double().numpy()) for i in (a, b))
            mixed = np.fft.ifftn(np.abs(y) * np.exp(1j * np.angle(x))).real[0, 0, 0] > 0.5
            pairs, amplitude, phase = pairs + 1, amplitude + (mixed == answers[b]), phase + (mixed == answers[a])
    assert found[0] == pairs
    assert (found.amplitude, found.phase) == (pytest.approx(amplitude / pairs), pytest.approx(phase / pairs))
    assert found.amplitude + found.phase == pytest.approx(1.0)
    assert found.amplitude_se > 0


def test_one_answer_to_all_can_not_tell() -> None:
    shown, _ = pictures()
    with pytest.raises(UsageError, match="gives the same answer to both pictures of every pair"):
        sppkit.spectrum_shares(Brightness(0.0), shown)
