"""Theory for any network, step by step, against sampled networks in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sppkit.theory.activation import TwoSlopes
from sppkit.theory.gram.attention import Attention, Pattern, attend, softmax_scatter
from sppkit.theory.gram.convolution import Window, convolve
from sppkit.theory.gram.describe import describe_function
from sppkit.theory.gram.gather import gather, pick, weigh
from sppkit.theory.gram.gram import (
    Gram,
    OutOfReachError,
    mean_square_correlation,
    over_batch,
    squared_mean_and_variance,
)
from sppkit.theory.gram.layers import (
    Weights,
    activate,
    add,
    add_known,
    apply_weights,
    concatenate,
    drop,
    multiply,
    multiply_known,
    normalize_batch,
    normalize_channels,
    normalize_samples,
    scale_channels,
)
from sppkit.theory.gram.positions import append, mix
from sppkit.theory.gram.program import End, Program
from sppkit.theory.hermite import Smooth

Floats = NDArray[np.float64]
SAMPLES, PLACES, CHANNELS = 3, 4, 20_000
# A mean over 20,000 channels of products of order 1 is right to 1/sqrt(20,000) = 0.7 %, here five times that.
NEAR = 0.035
random = np.random.default_rng


def drawn(seed: int = 0, channels: int = CHANNELS, offset: float = 0.0) -> tuple[Gram, Floats]:
    """Channels that are draws of one Gaussian process, of shape (positions, channels), and their Gram."""
    number, count = random(seed), SAMPLES * PLACES
    root = number.standard_normal((count, count)) / np.sqrt(count) + 0.5
    x = root @ number.standard_normal((count, channels)) + offset
    gram = Gram((SAMPLES, PLACES), root @ root.T + offset**2, np.full(count, offset), channels, SAMPLES)
    return gram, x


def assert_sampled(gram: Gram, x: Floats, near: float = NEAR) -> None:
    scale = np.sqrt(np.multiply.outer(gram.second, gram.second))
    assert np.abs(gram.products - x @ x.T / x.shape[1]).max() < near * scale.max()
    assert np.abs(gram.mean - x.mean(axis=1)).max() < near * np.sqrt(scale.max())


def gelu(x: Floats) -> Floats:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def layer_norm(x: Floats) -> Floats:
    centred = x - x.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(centred.var(axis=1, keepdims=True) + 0.3))


def batch_norm(x: Floats) -> Floats:
    return np.asarray((x - x.mean(axis=0)) / np.sqrt(x.var(axis=0).mean() + 0.1))


def group_norm(x: Floats) -> Floats:
    blocks = x.reshape(SAMPLES, -1)
    return np.asarray((blocks - blocks.mean(1, keepdims=True)) / np.sqrt(blocks.var(1, keepdims=True) + 0.1)).reshape(
        x.shape
    )


RELU = TwoSlopes(1.0, 0.0)
ONE_INPUT: dict[str, tuple[Callable[[Gram], Gram], Callable[[Floats], Floats]]] = {
    "relu": (lambda g: activate(g, RELU), lambda x: np.maximum(x, 0)),
    "gelu": (lambda g: activate(g, Smooth(gelu)), gelu),
    "layer norm": (lambda g: normalize_channels(g, 0.3, centred=True), layer_norm),
    "rms norm": (
        lambda g: normalize_channels(g, 0.3, centred=False),
        lambda x: np.asarray(x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 0.3)),
    ),
    "batch norm": (lambda g: normalize_batch(g, 0.1), batch_norm),
    "group norm": (lambda g: normalize_samples(g, 0.1, groups=4), group_norm),
    "number": (lambda g: g.scaled(-2.0).shifted(0.7), lambda x: 0.7 - 2 * x),
    "numbers of positions": (
        lambda g: g.times(np.arange(12.0)),
        lambda x: x * np.arange(12.0)[:, None],
    ),
    "some positions": (lambda g: g.taken(np.array([4, 1, 4]), (1, 3)), lambda x: x[[4, 1, 4]]),
    "layer scale": (
        lambda g: scale_channels(g, 2.5, 1.5),
        lambda x: x * np.where(np.arange(x.shape[1]) % 2, 1.0, 2.0),
    ),
    "dropout": (
        lambda g: drop(g, 0.8),
        lambda x: x * (random(7).random(x.shape) < 0.8) / 0.8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("offset", [0.0, 0.4], ids=["centred", "shifted"])
@pytest.mark.parametrize("name", ONE_INPUT)
def test_a_step_does_to_the_gram_what_the_layer_does_to_the_signal(name: str, offset: float) -> None:
    step, layer = ONE_INPUT[name]
    gram, x = drawn(offset=offset)
    assert_sampled(step(gram), layer(x))


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_an_activation_where_each_position_has_a_mean_of_its_own(name: str) -> None:
    step, layer = ONE_INPUT[name]
    gram, x = drawn()
    means = np.linspace(-1.0, 1.5, SAMPLES * PLACES)
    moved = Gram(gram.sizes, gram.products + np.multiply.outer(means, means), means, CHANNELS, SAMPLES)
    assert_sampled(step(moved), layer(x + means[:, None]))


def test_known_positions_are_gathered_weighed_and_picked() -> None:
    gram, x = drawn()
    taps = np.array([[0, 1, 4, 5, 8, 9], [-1, 2, -1, 6, -1, 10]])
    seen = np.where(taps[:, :, None] < 0, 0.0, x[taps])
    found = gather(gram, taps)
    assert found.sizes == (SAMPLES, 2)
    assert np.abs(found.products - np.einsum("tpc,tqc->pq", seen, seen) / 2 / CHANNELS).max() < NEAR * gram.power
    weights = random(2).standard_normal((6, 12)) / 4
    assert_sampled(weigh(gram, weights), weights @ x)
    assert_sampled(pick(gram, taps[1]), seen[1])


def test_instance_normalization_centres_each_sample() -> None:
    gram, _ = drawn()
    found = normalize_samples(gram, 0.0, groups=None).products.reshape(SAMPLES, PLACES, SAMPLES, PLACES)
    assert found.mean(axis=(1, 3)) == pytest.approx(0.0, abs=1e-12)
    assert found.mean(axis=3) == pytest.approx(0.0, abs=1e-12)
    powers = [np.trace(found[index, :, index]) / PLACES for index in range(SAMPLES)]
    assert powers == pytest.approx([1.0] * SAMPLES)


@pytest.mark.parametrize("width", [64, 512])
def test_random_weights_scatter_as_far_as_they_say(width: int) -> None:
    gram, x = drawn(channels=width)
    gram = Gram(gram.sizes, x @ x.T / width, x.mean(axis=1), width, SAMPLES)  # of these very channels
    number = random(1)
    draws = [x @ (0.3 * number.standard_normal((width, 128))) + number.uniform(-1, 1, 128) for _ in range(200)]
    expected = apply_weights(gram, Weights(0.09, width, 128, 0.0, 1 / 3))
    variances = np.array([y.var(axis=0).mean() for y in draws])
    variance = squared_mean_and_variance(expected)[1]
    spread = variance * np.sqrt(expected.drift)
    assert variances.mean() == pytest.approx(variance, abs=4 * spread / np.sqrt(200))
    assert 0.6 < variances.std() / spread < 1.6
    total = add(expected, expected)
    both = np.array([(y + z).var(axis=0).mean() for y, z in zip(draws[::2], draws[1::2], strict=True)])
    assert 0.75 < both.std() / (squared_mean_and_variance(total)[1] * np.sqrt(total.drift)) < 1.25


def test_few_inputs_scatter_more_than_many_positions_do() -> None:
    number, places, inputs = random(2), 300, 16
    variances = [
        (number.standard_normal((places, inputs)) @ number.standard_normal((inputs, 128))).var(axis=0).mean()
        for _ in range(80)
    ]
    gram = Gram((1, places), np.eye(places), np.zeros(places), inputs, 1)
    expected = apply_weights(gram, Weights(1.0, inputs, 128))
    spread = squared_mean_and_variance(expected)[1] * np.sqrt(expected.drift)
    assert 0.75 < np.std(variances) / spread < 1.3


def test_sums_gates_and_concatenations_of_independent_signals() -> None:
    (first, x), (second, y) = drawn(0), drawn(1, offset=0.3)
    assert_sampled(add(first, second), x + y)
    assert_sampled(multiply(first, second), x * y)
    assert_sampled(concatenate([first, second]), np.concatenate((x, y), axis=1))


def test_known_numbers_are_added_and_multiplied() -> None:
    gram, x = drawn(offset=0.3)
    known = random(5).standard_normal(x.shape) + 0.5
    products, mean = known @ known.T / known.shape[1], known.mean(axis=1)
    assert_sampled(add_known(gram, products, mean), x + known)
    # Squares of products have a kurtosis of 9.
    assert_sampled(multiply_known(gram, products, mean), x * known, near=3 * NEAR)


def test_positions_are_mixed_and_appended() -> None:
    gram, x = drawn(offset=0.3)
    matrix, bias = random(2).standard_normal((5, PLACES)), random(3).standard_normal(5)
    mixed = np.einsum("st,ntc->nsc", matrix, x.reshape(SAMPLES, PLACES, -1)) + bias[:, None]
    assert_sampled(mix(gram, 1, matrix, bias), mixed.reshape(SAMPLES * 5, -1))
    other, y = drawn(4, offset=-0.2)
    both = np.concatenate((x.reshape(SAMPLES, PLACES, -1), y.reshape(SAMPLES, PLACES, -1)), axis=1)
    assert_sampled(append([gram, other], 1), both.reshape(SAMPLES * 2 * PLACES, -1))


def test_a_window_gathers_what_filters_see() -> None:
    channels, number = 200, random(0)
    image = number.standard_normal((SAMPLES, channels, PLACES))
    x = image.transpose(0, 2, 1).reshape(-1, channels)
    gram = Gram((SAMPLES, PLACES), x @ x.T / channels, x.mean(axis=1), channels, SAMPLES)
    padded = np.pad(image, ((0, 0), (0, 0), (2, 2)))
    seen = np.stack([padded[:, :, [at, at + 2, at + 4]].reshape(SAMPLES, -1) for at in (0, 2)], axis=1)
    flat = seen.reshape(2 * SAMPLES, -1)
    found = convolve(gram, Window((3,), (2,), (2,), (2,)), (SAMPLES, PLACES))
    assert found.products == pytest.approx(flat @ flat.T / flat.shape[1])
    assert found.sizes == (SAMPLES, 2)


def test_the_statistics_of_a_part_of_the_batch_stand_for_the_whole() -> None:
    x = random(0).standard_normal((2, 3, 50))
    flat = x.reshape(6, 50)
    products = flat @ flat.T / 50
    whole = Gram((2, 3), products, flat.mean(axis=1), 50, 2)
    squared_mean, variance = squared_mean_and_variance(whole)
    assert squared_mean == pytest.approx(np.square(flat.mean(axis=0)).mean())
    assert variance == pytest.approx(flat.var(axis=0).mean())
    more = Gram((2, 3), products, flat.mean(axis=1), 50, 8)
    blocks = products.reshape(2, 3, 2, 3).mean(axis=(1, 3))
    assert over_batch(more).mean() == pytest.approx(np.trace(blocks) / 2 / 8 + 7 / 8 * blocks[0, 1])
    assert mean_square_correlation(Gram((1, 500), np.eye(500), np.zeros(500), 1, 1)) == pytest.approx(1 / 500, rel=0.01)


@pytest.mark.parametrize("keys", [1, 2, 5, 40])
@pytest.mark.parametrize("variance", [0.1, 0.6, 1.5])
def test_the_scatter_of_a_softmax(variance: float, keys: int) -> None:
    scores = np.sqrt(variance) * random(0).standard_normal((200_000 // keys, keys))
    weights = np.exp(scores)
    weights /= weights.sum(axis=1, keepdims=True)
    sampled = keys * np.square(weights - 1 / keys).sum(axis=1)
    found = softmax_scatter(np.array(variance), np.array(float(keys)))
    assert float(found) == pytest.approx(sampled.mean(), abs=4 * sampled.std() / len(scores) ** 0.5 + 0.01 * variance)


def attended(seed: int, setting: tuple[float, float, bool], keep: float = 1.0) -> Floats:
    """One draw of attention over 16 tokens of 2 sequences: E over channels of its products."""
    correlation, strength, causal = setting
    tokens, width, heads = 16, 96, 4
    number = random(seed)
    common = number.standard_normal((1, width))
    u = np.sqrt(1 - correlation) * number.standard_normal((2 * tokens, width)) + np.sqrt(correlation) * common
    matrices = number.standard_normal((3, width, width)) / np.sqrt(width)
    q, k, v = ((u @ m).reshape(2, tokens, heads, -1).transpose(0, 2, 1, 3) for m in matrices)
    scores = np.sqrt(strength) * q @ k.transpose(0, 1, 3, 2) / np.sqrt(width / heads)
    if causal:
        scores = np.where(np.tril(np.ones((tokens, tokens), dtype=bool)), scores, -np.inf)
    weights = np.exp(scores)
    weights /= weights.sum(axis=-1, keepdims=True)
    weights = weights * (number.random(weights.shape) < keep) / keep
    y = (weights @ v).transpose(0, 2, 1, 3).reshape(2 * tokens, -1)
    return np.asarray(y @ y.T / width)


def expected_attention(setting: tuple[float, float, bool], keep: float = 1.0) -> Floats:
    correlation, strength, causal = setting
    products = np.full((32, 32), correlation)
    np.fill_diagonal(products, 1.0)
    gram = Gram((2, 16), products, np.zeros(32), 96, 2)
    attention = Attention(np.sqrt(strength / 24), 24, Pattern("causal" if causal else "full"), 96, keep, 2)
    return attend(gram, gram, gram, attention).products


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_attention(*, strength: float, correlation: float, causal: bool) -> None:
    setting = (correlation, strength, causal)
    draws = np.array([np.trace(attended(seed, setting)) / 32 for seed in range(40)])
    expected = np.trace(expected_attention(setting)) / 32
    assert draws.mean() == pytest.approx(expected, abs=0.02 * expected + 3 * draws.std() / 40**0.5)


def test_attention_with_dropout_and_with_known_weights() -> None:
    setting = (0.0, 0.4, True)
    draws = np.array([np.trace(attended(seed, setting, 0.7)) / 32 for seed in range(40)])
    expected = np.trace(expected_attention(setting, 0.7)) / 32
    assert draws.mean() == pytest.approx(expected, abs=0.03 * expected + 3 * draws.std() / 40**0.5)
    # What dropout adds is the sum of the squared weights, here of scores drawn one by one.
    weights = np.exp(np.where(np.tril(np.ones((16, 16))), random(9).standard_normal((20_000, 16, 16)), -np.inf))
    squares = np.square(weights / weights.sum(axis=-1, keepdims=True)).sum(axis=-1).mean(axis=0)
    apart = (0.0, 1.0, True)
    more = np.diagonal(expected_attention(apart, 0.5) - expected_attention(apart))
    assert more == pytest.approx(np.tile(squares, 2), rel=0.02)
    plain = np.tril(np.ones((16, 16))) / np.arange(1, 17)[:, None]
    gram, key = Gram((2, 16), np.eye(32), np.zeros(32), 96, 2), Gram((2, 16), 0.5 * np.eye(32), np.zeros(32), 96, 2)
    outputs = [
        attend(gram, key, gram, Attention(0.2, 24, pattern, 96, 0.9, 2)).products
        for pattern in (Pattern("causal"), Pattern("known", np.broadcast_to(plain, (1, 3, 16, 16))))
    ]
    assert outputs[0] == pytest.approx(outputs[1])


def transformer(seed: int) -> tuple[list[float], list[float]]:
    """E x² and channel variance after each addition of a causal pre-norm transformer: sampled, and expected."""
    width, heads, tokens, samples, std = 256, 8, 16, 3, 1 / 16
    number = random(seed)
    words = number.standard_normal((20, width))[number.integers(20, size=(samples, tokens))]
    x = (words + number.standard_normal((tokens, width))).reshape(-1, width)
    gram = Gram((samples, tokens), x @ x.T / width, x.mean(axis=1), width, samples)
    seen = np.tril(np.ones((tokens, tokens), dtype=bool))
    found, expected = [], []
    for _ in range(3):
        u, given = layer_norm(x), normalize_channels(gram, 0.3, centred=True)
        q, k, v, o = (std * number.standard_normal((width, width)) for _ in range(4))
        q, k, v = ((u @ m).reshape(samples, tokens, heads, -1).transpose(0, 2, 1, 3) for m in (q, k, v))
        weights = np.exp(np.where(seen, q @ k.transpose(0, 1, 3, 2) / np.sqrt(width / heads), -np.inf))
        weights /= weights.sum(axis=-1, keepdims=True)
        x = x + (weights @ v).transpose(0, 2, 1, 3).reshape(-1, width) @ o
        projected, attention = apply_weights(given, Weights(std**2, width, width)), Pattern("causal")
        mixed = attend(
            projected, projected, projected, Attention((width / heads) ** -0.5, 32, attention, width, 1.0, samples)
        )
        gram = add(gram, apply_weights(mixed, Weights(std**2, width, width)))
        hidden = layer_norm(x) @ (std * number.standard_normal((width, 512)))
        x = x + gelu(hidden) @ (std * number.standard_normal((512, width)))
        of_hidden = activate(
            apply_weights(normalize_channels(gram, 0.3, centred=True), Weights(std**2, width, 512)), Smooth(gelu)
        )
        gram = add(gram, apply_weights(of_hidden, Weights(std**2, 512, width)))
        found += [float(np.square(x).mean()), float(x.var(axis=0).mean())]
        expected += [gram.power, squared_mean_and_variance(gram)[1]]
    return found, expected


def test_a_transformer_is_predicted_through_all_its_layers() -> None:
    found, expected = np.array([transformer(seed) for seed in range(4)]).transpose(1, 0, 2)
    error = 3 * (found / expected).std(axis=0, ddof=1) / 2
    assert np.abs(found.mean(axis=0) / expected.mean(axis=0) - 1) == pytest.approx(0.0, abs=float(0.03 + error.max()))
    assert error.max() < 0.05


def test_where_theory_ends() -> None:
    with pytest.raises(OutOfReachError, match=r"scores of a query vary by 3.*holds up to 1.5"):
        expected_attention((0.0, 3.0, False))
    gram, _ = drawn()
    with pytest.raises(OutOfReachError, match="a normalizer of a signal that is 0"):
        normalize_channels(gram.scaled(0.0), 0.0, centred=False)
    with pytest.raises(OutOfReachError, match="fewer than 4 positions"):
        normalize_samples(gram.taken(np.array([0, 4, 8]), (3, 1)), 0.1, groups=None)


def test_functions_that_are_lines_are_recognized() -> None:
    assert describe_function(Smooth(lambda x: 2 * x - 1)) == pytest.approx((2.0, -1.0))
    assert describe_function(Smooth(lambda x: np.where(x > 0, x, 0.1 * x))) == TwoSlopes(1.0, pytest.approx(0.1))  # type: ignore[arg-type]
    assert isinstance(describe_function(Smooth(gelu)), Smooth)


def test_a_program_follows_signals_until_theory_ends() -> None:
    program = Program()
    gram, _ = drawn()
    start = program.add(lambda: gram, where="stem")
    twice = program.add(lambda g: g.scaled(2.0), start, where="a")
    zero = program.add(lambda g: normalize_channels(g.scaled(0.0), 0.0, centred=False), twice, where="b.norm")
    behind = program.add(add, zero, twice, where="b")
    found = dict(program.follow({twice, behind}))
    assert found[twice].power == pytest.approx(4 * gram.power)
    assert found[behind] == End("b.norm", "a normalizer of a signal that is 0")
