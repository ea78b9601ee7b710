"""How large the networks of a generative transformation are, and how they are trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Zhou et al. 2022 (arXiv:2203.09739) train the networks of MUNIT (Huang et al. 2018, arXiv:1804.04732, appendix B.2);
# channels are doubled by so many halvings of the map at most, and then stay (64, 128, 256, 256, 256).
DOUBLINGS = 2
# The border that a convolution of 7×7 mirrors is 3 pixels wide.
SMALLEST = 4


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The shape of a picture and the sizes of the networks.

    Attributes:
        channels: Of a picture.
        height: In pixels, divisible by 2 to the power of ``downsamplings``.
        width: In pixels, likewise.
        features: Channels of the first convolution of an encoder, doubled at each of the first two halvings.
        downsamplings: How often the content encoder halves the map, and the decoder doubles it again.
        style_downsamplings: How often the style encoder halves the map before it takes the mean over it.
        residual_blocks: Of the content encoder, and of the decoder.
        style: Numbers in a style z.
        hidden: Width of the two hidden layers between a style and the decoder.
        discriminator_features: Channels of the discriminator's first convolution, doubled at each of the others.
        discriminator_layers: Convolutions of the discriminator, each of which halves the map.
        domains: 2 trains two generators on the same pictures, each with a discriminator and on contents of the other,
            and keeps the first, as published; 1 trains one, on contents of its own.
    """

    channels: int
    height: int
    width: int
    features: int
    downsamplings: int
    style_downsamplings: int
    residual_blocks: int
    style: int
    hidden: int
    discriminator_features: int
    discriminator_layers: int
    domains: int

    def __post_init__(self) -> None:
        """Refuse maps that can't be halved so often."""
        factor = 2**self.downsamplings
        if self.height % factor or self.width % factor:
            raise UsageError(
                f"pictures of {self.height}×{self.width} can't be halved {self.downsamplings} times and doubled back: "
                f"both sides must be divisible by {factor}.\nType another --downsamplings, or --image-size."
            )
        smallest = min(self.height, self.width)
        if smallest < SMALLEST:
            raise UsageError(
                f"pictures of {self.height}×{self.width} are too small: {SMALLEST} pixels a side are needed."
            )
        # A mirrored border of one pixel needs two; instance norm needs several positions.
        most = smallest.bit_length() - 1
        for name in ("downsamplings", "style_downsamplings", "discriminator_layers"):
            if getattr(self, name) > most - (name == "downsamplings"):
                raise UsageError(
                    f"{getattr(self, name)} {name.replace('_', ' ')} are too many for pictures of "
                    f"{self.height}×{self.width}: at most {most - (name == 'downsamplings')}."
                )

    @property
    def picture(self) -> tuple[int, int, int]:
        """Shape of a picture, (C, H, W)."""
        return self.channels, self.height, self.width

    def described(self) -> dict[str, int]:
        """Return all sizes by name, JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the networks are trained: Adam with betas (0.5, 0.999), the weight decay added to the gradient.

    Attributes:
        batch_size: Pictures per step and domain.
        learning_rate: Of Adam.
        weight_decay: Of Adam, 1/2 its factor times the squared weights being added to the loss.
        flip: Whether each picture is mirrored with probability 1/2, left to right.
        seed: Of the weights and of all that a step draws.
    """

    batch_size: int
    learning_rate: float
    weight_decay: float
    flip: bool
    seed: int

    def described(self) -> dict[str, Any]:
        """Return all settings by name, JSON-ready."""
        return asdict(self)


# What is described of the authors' Kuzushiji-49 configuration, and what suits two cores: digits of 8 pixels, whose
# background, a single number, needs few numbers of style to be learned (docs/git.md).
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "k49": {
        "features": 64,
        "downsamplings": 2,
        "style_downsamplings": 4,
        "residual_blocks": 4,
        "style": 8,
        "hidden": 256,
        "discriminator_features": 64,
        "discriminator_layers": 4,
        "domains": 2,
        "batch_size": 1,
        "learning_rate": 1e-4,
        "weight_decay": 1e-4,
        "flip": True,
        "steps": 10_000,
    },
    "small": {
        "features": 16,
        "downsamplings": 1,
        "style_downsamplings": 2,
        "residual_blocks": 2,
        "style": 2,
        "hidden": 64,
        "discriminator_features": 16,
        "discriminator_layers": 2,
        "domains": 1,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "weight_decay": 1e-4,
        "flip": False,
        "steps": 3_000,
    },
}

SIZES = tuple(item.name for item in fields(Sizes))
SETTINGS = tuple(item.name for item in fields(Settings))
