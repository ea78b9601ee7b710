"""The networks and losses of a generative transformation against their definitions."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from generators import TINY, bars, chosen

from sppkit.config.git import PRESETS as NAMES
from sppkit.errors import UsageError
from sppkit.inputs.shifts.generative.losses import Terms, absolute_difference, adversarial, discrimination
from sppkit.inputs.shifts.generative.networks import (
    ContentEncoder,
    Decoder,
    Discriminator,
    Networks,
    StyleEncoder,
    adaptive_instance_norm,
    initialize,
)
from sppkit.inputs.shifts.generative.sampling import Draw, draw_step
from sppkit.inputs.shifts.generative.sizes import PRESETS, SETTINGS, SIZES
from sppkit.inputs.shifts.generative.training import Training
from sppkit.streams import keyed_generator

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64, a few roundings


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def shapes(module: torch.nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in module.parameters() if p.dim() > 1]


def test_adaptive_instance_norm_is_its_definition() -> None:
    x, scale, offset = 3 * drawn(2, 3, 4, 5) + 7, drawn(2, 3, seed=1), drawn(2, 3, seed=2)
    found = adaptive_instance_norm(x, scale, offset)
    for n in range(2):
        for c in range(3):
            values = x[n, c].flatten().tolist()
            mean = sum(values) / 20
            variance = sum((value - mean) ** 2 for value in values) / 20
            expected = scale[n, c] * (x[n, c] - mean) / math.sqrt(variance + 1e-5) + offset[n, c]
            torch.testing.assert_close(found[n, c], expected, **EXACT)
    torch.testing.assert_close(found.mean((2, 3)), offset, rtol=0, atol=1e-12)
    # The 1e-5 beside a variance of 9.
    torch.testing.assert_close(found.std((2, 3), correction=0), scale.abs(), rtol=1e-5, atol=0)


def test_losses_are_their_definitions() -> None:
    a, b = drawn(2, 3, 4, 4), drawn(2, 3, 4, 4, seed=1)
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    assert float(absolute_difference(a, b)) == pytest.approx(sum(abs(p - q) for p, q in pairs) / 96, rel=1e-12)
    assert float(adversarial(a)) == pytest.approx(sum((p - 1) ** 2 for p, _ in pairs) / 96, rel=1e-12)
    expected = sum((p - 1) ** 2 for p, _ in pairs) / 96 + sum(q**2 for _, q in pairs) / 96
    assert float(discrimination(a, b)) == pytest.approx(expected, rel=1e-12)
    weighted = Terms(*(torch.tensor(value) for value in (0.1, 0.02, 0.003, 0.0004))).total()
    assert float(weighted) == pytest.approx(1.0234)


def taken(pictures: torch.Tensor, draw: Draw) -> torch.Tensor:
    chosen = [pictures[index] for index in draw.indices]
    mirrored = [x[:, :, [7, 6, 5, 4, 3, 2, 1, 0]] if m else x for x, m in zip(chosen, draw.mirrored, strict=True)]
    return torch.stack([2 * x - 1 for x in mirrored])


@pytest.mark.parametrize("domains", [1, 2])
def test_a_step_minimizes_the_terms_of_its_own_draw(domains: int) -> None:
    pictures, labels, _ = bars(8)
    sizes, settings = chosen(**{**TINY, "domains": domains, "flip": True, "batch_size": 8})
    training = Training(sizes, settings, pictures, labels.numpy(), torch.device("cpu"))
    networks, judges = copy.deepcopy(training.networks), copy.deepcopy(training.discriminators)
    training.step()
    draws = draw_step(training._sampler, sizes, settings, 0)
    terms, judged = np.zeros(4), 0.0
    with torch.no_grad():
        for me in range(domains):
            other = domains - 1 - me
            x, y, style = taken(pictures, draws[me]), taken(pictures, draws[other]), torch.from_numpy(draws[me].styles)
            content = networks[other].content(y)
            decoded = networks[me].decode(content, style)
            rebuilt = networks[me].decode(networks[me].content(x), networks[me].style(x))
            judged += float((judges[me](x) - 1).square().mean() + judges[me](decoded).square().mean())
            terms += [
                float((x - rebuilt).abs().mean()),
                float((style - networks[me].style(decoded)).abs().mean()),
                float((content - networks[me].content(decoded)).abs().mean()),
                # The generator meets the discriminator that has just been trained.
                float((training.discriminators[me](decoded) - 1).square().mean()),
            ]
    # float32, sums in another order.
    np.testing.assert_allclose(training.losses()[0].numpy(), [*terms, judged], rtol=1e-4, atol=1e-6)
    assert {m for d in draws for m in d.mirrored.tolist()} == {True, False}


def test_a_step_moves_every_weight_of_the_networks_and_of_the_discriminator() -> None:
    pictures, labels, _ = bars(8)
    training = Training(*chosen(**{**TINY, "weight_decay": 0.0}), pictures, labels.numpy(), torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in training.state().items()}
    for _ in range(3):
        training.step()
    # Instance norm takes out the biases of the convolutions before it.
    still = [name for name, tensor in before.items() if torch.equal(tensor, training.state()[name])]
    assert not [name for name in still if not name.endswith("bias")]


def test_the_published_sizes() -> None:
    sizes, settings = chosen("k49", (1, 28, 28))
    assert shapes(ContentEncoder(sizes)) == [
        (64, 1, 7, 7), (128, 64, 4, 4), (256, 128, 4, 4), *[(256, 256, 3, 3)] * 8
    ]  # fmt: skip
    assert shapes(StyleEncoder(sizes)) == [
        (64, 1, 7, 7), (128, 64, 4, 4), (256, 128, 4, 4), (256, 256, 4, 4), (256, 256, 4, 4), (8, 256)
    ]  # fmt: skip
    assert shapes(Decoder(sizes)) == [
        *[(256, 256, 3, 3)] * 8,
        # Scales and offsets of two norms in each of four blocks: 4 · 2 · 2 · 256.
        (256, 8), (256, 256), (4096, 256),
        (128, 256, 5, 5), (64, 128, 5, 5), (1, 64, 7, 7),
    ]  # fmt: skip
    assert shapes(Discriminator(sizes)) == [
        (64, 1, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1, 512, 1, 1)
    ]  # fmt: skip
    assert (settings.batch_size, settings.learning_rate, settings.weight_decay, settings.flip) == (1, 1e-4, 1e-4, True)
    assert (sizes.domains, PRESETS["k49"]["steps"]) == (2, 10_000)


@pytest.mark.parametrize(("preset", "shape"), [("small", (1, 8, 8)), ("small", (3, 12, 16)), ("k49", (1, 28, 28))])
def test_maps_have_the_shapes_that_are_told(preset: str, shape: tuple[int, int, int]) -> None:
    sizes, _ = chosen(preset, shape)
    networks, discriminator = Networks(sizes), Discriminator(sizes)
    initialize(networks, 0, "networks")
    initialize(discriminator, 0, "discriminators")
    x = torch.rand(2, *shape) * 2 - 1
    content, style = networks.content(x), networks.style(x)
    factor = 2**sizes.downsamplings
    channels = sizes.features * factor
    assert content.shape == (2, channels, shape[1] // factor, shape[2] // factor)
    assert style.shape == (2, sizes.style)
    assert networks.decode(content, style).shape == x.shape
    assert networks.decode(content, style).abs().max() <= 1
    assert discriminator(x).shape[:2] == (2, 1)


def test_content_sees_neither_brightness_nor_contrast_and_style_does() -> None:
    # With a mirrored border, an affine change of grey levels still is one behind the first convolution; what the norm
    # leaves of it comes from the 1e-5 that is added to variances of about 1.
    networks = Networks(chosen()[0])
    initialize(networks.requires_grad_(False), 0, "networks")
    x = bars(4)[0] * 2 - 1
    y = 0.5 * x + 0.2
    moved = float((networks.content(y) - networks.content(x)).abs().max())
    apart = float((networks.content(x[:1]) - networks.content(x[1:2])).abs().max())
    assert moved < 1e-3 * apart
    assert float((networks.style(y) - networks.style(x)).abs().min()) > 0.01


def convolve(x: torch.Tensor, layer: torch.nn.Module, padding: int) -> torch.Tensor:
    mirrored = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), *[(padding, padding)] * 2), mode="reflect"))
    return torch.nn.functional.conv2d(mirrored, layer.weight, layer.bias)


def test_the_decoder_is_its_definition() -> None:
    decoder = Decoder(chosen(features=3)[0]).double().requires_grad_(False)
    initialize(decoder, 0, "decoder")
    for norm in decoder.norms:
        norm.scale.copy_(drawn(3, seed=5))
        norm.offset.copy_(drawn(3, seed=6))
    content, style = drawn(2, 6, 4, 4), drawn(2, 2, seed=1)
    layers = [(layer.weight, layer.bias) for layer in decoder.styles]
    hidden = style
    for weight, bias in layers[:-1]:
        hidden = (hidden @ weight.T + bias).clamp(min=0)
    # Two blocks of two norms, each with its scales, then its offsets.
    numbers = (hidden @ layers[-1][0].T + layers[-1][1]).view(2, 2, 2, 2, 6)
    x = content
    for index, block in enumerate(decoder.blocks):
        affine = numbers[:, index]
        y = adaptive_instance_norm(convolve(x, block.conv0, 1), affine[:, 0, 0], affine[:, 0, 1]).clamp(min=0)
        x = x + adaptive_instance_norm(convolve(y, block.conv1, 1), affine[:, 1, 0], affine[:, 1, 1])
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    y = convolve(doubled, decoder.doublings[0], 2)
    mean, variance = y.mean((1, 2, 3), keepdim=True), y.var((1, 2, 3), correction=0, keepdim=True)
    scale, offset = (value.view(1, 3, 1, 1) for value in (decoder.norms[0].scale, decoder.norms[0].offset))
    y = (scale * (y - mean) / (variance + 1e-5).sqrt() + offset).clamp(min=0)
    torch.testing.assert_close(decoder(content, style), torch.tanh(convolve(y, decoder.last, 3)), **EXACT)


def test_each_weight_has_a_stream_of_its_own() -> None:
    discriminator = Discriminator(chosen()[0])
    initialize(discriminator, 5, "discriminators.0")
    weight = discriminator.halvings[1].weight
    expected = keyed_generator(5, "git/discriminators.0.halvings.1.weight").standard_normal((32, 16, 4, 4), np.float32)
    torch.testing.assert_close(weight.detach(), torch.from_numpy(expected * math.sqrt(2 / 256)).float())


def test_classes_are_drawn_as_often_and_their_pictures_too() -> None:
    labels = np.array([3] * 90 + [7] * 9 + [1])
    sizes, settings = chosen(batch_size=100, flip=True)
    training = Training(sizes, settings, torch.rand(100, 1, 8, 8), labels, torch.device("cpu"))
    draws = [draw_step(training._sampler, sizes, settings, step)[0] for step in range(90)]
    indices = np.concatenate([draw.indices for draw in draws])
    classes = np.bincount(labels[indices], minlength=8)
    # 9000 draws of 1/3: a standard deviation of 45; the pictures of class 7 of 1/27: 18.
    assert np.abs(classes[[1, 3, 7]] - 3000).max() < 4 * 45
    assert np.abs(np.bincount(indices)[90:99] - 333).max() < 4 * 18
    assert abs(np.concatenate([draw.mirrored for draw in draws]).mean() - 0.5) < 4 * 0.5 / math.sqrt(9000)
    styles = np.concatenate([draw.styles for draw in draws])
    assert abs(styles.mean()) < 4 / math.sqrt(18000)
    assert abs(styles.std() - 1) < 4 / math.sqrt(36000)


def test_two_domains_draw_different_pictures() -> None:
    sizes, settings = chosen(domains=2)
    training = Training(sizes, settings, torch.rand(100, 1, 8, 8), np.zeros(100, int), torch.device("cpu"))
    one, other = draw_step(training._sampler, sizes, settings, 0)
    assert not np.array_equal(one.indices, other.indices)
    assert not np.array_equal(one.styles, other.styles)


def test_every_preset_says_all_that_is_not_the_pictures() -> None:
    needed = {*SIZES, *SETTINGS, "steps"} - {"channels", "height", "width", "seed"}
    assert tuple(NAMES) == ("small", "k49")
    assert {name: set(values) for name, values in PRESETS.items()} == dict.fromkeys(NAMES, needed)


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        ((1, 25, 28), {"downsamplings": 2}, "pictures of 25×28 can't be halved 2 times .* must be divisible by 4"),
        ((1, 2, 8), {}, "pictures of 2×8 are too small: 4 pixels a side are needed"),
        ((1, 8, 8), {"downsamplings": 3}, "3 downsamplings are too many for pictures of 8×8: at most 2"),
        ((1, 8, 8), {"style_downsamplings": 4}, "4 style downsamplings are too many for pictures of 8×8: at most 3"),
        (
            (1, 8, 16),
            {"discriminator_layers": 4},
            "4 discriminator layers are too many for pictures of 8×16: at most 3",
        ),
    ],
)
def test_sizes_that_no_picture_can_have_are_refused(shape: tuple[int, int, int], given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen(shape=shape, **given)
