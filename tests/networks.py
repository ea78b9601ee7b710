"""Small networks for the tests of loading, as a user would write them in a file of their own."""

from __future__ import annotations

import torch
from torch import nn

from sppkit import Site


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


class Net(nn.Module):
    """A pre-activation network of a few blocks."""

    def __init__(self, width: int = 8, depth: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.stem(x))

    def signal_sites(self) -> list[Site]:
        sites = [Site(0, 0, "stem", "block_output", "stem")]
        for index in range(len(self.blocks)):
            name = f"blocks.{index}"
            sites.append(Site(index + 1, 1, name, "residual_branch", f"{name}.branch"))
            sites.append(Site(index + 1, 1, name, "block_output", name))
        return sites


class Language(nn.Module):
    """Embeds tokens and adds a layer's output to them: (N, T, C)."""

    def __init__(self, vocab: int = 50, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.mix = nn.Linear(width, width)
        self.sum = nn.Identity()

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embed(tokens)
        return {"hidden": self.sum(x + self.mix(x))}

    def signal_sites(self) -> list[Site]:
        return [
            Site(0, 0, "embed", "block_output", "embed"),
            Site(1, 1, "sum", "residual_branch", "mix"),
            Site(1, 1, "sum", "block_output", "sum"),
        ]


def build(depth: int = 2, *, width: int = 8) -> Net:
    return Net(width, depth)


def needs_width(width: int) -> Net:
    return Net(width)


def raises() -> Net:
    raise ValueError("no such width. Take another.")


def exits() -> Net:
    raise SystemExit(3)


def returns_a_tuple() -> tuple[Net, None]:
    return Net(), None


def returns_the_class() -> type[Net]:
    return Net


made = Net()
number = 3
