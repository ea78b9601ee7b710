"""Building a named architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.config.parsers import parse_seed
from sppkit.machine.allocator import no_collection
from sppkit.models.enorm import equi_normalize
from sppkit.models.enorm_settings import read_enorm_settings
from sppkit.models.initialize import materialize
from sppkit.models.memory import check_fits
from sppkit.models.resnet import PreActivationResNet
from sppkit.models.spec import ModelSpec, build_spec

if TYPE_CHECKING:
    from collections.abc import Callable


def build_model(arch: str, *, seed: int = 0, **model_options: object) -> PreActivationResNet:
    """Build a named architecture with weights that depend only on the seed and each parameter's name.

    Args:
        arch: ``bn-relu-conv``, ``relu-bn-conv``, ``nf-resnet``, ``nf-regnet``, ``he-resnet``, ``skipinit``, ``fixup``.
        seed: Seed of the weights, from 0 to 2**63 - 1.
        **model_options: ``depth`` or ``stages``, and any of ``block``, ``width``, ``activation`` (a name or a
            callable), ``norm``, ``norm_kw``, ``order``, ``add_on``, ``add_on_kw``, ``weights``, ``init``, ``noise``,
            ``noise_kind``, ``enorm``, ``enorm_kw``, ``padding``, ``stem``, ``gain``, ``alpha``, ``se``, ``skip_gain``,
            ``stochastic_depth``, ``variant`` (of nf-regnet); the same as the command line's, with underscores.

    Returns:
        The network in train mode, float32, on the CPU.

    Raises:
        UsageError: For an unknown name, an illegal value, or an option that means nothing for the architecture.
        DoesNotFitError: If its weights would not fit into memory.

    >>> model = build_model("nf-resnet", stages=(1, 1), width=0.125, activation="silu")
    >>> model(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 64, 4, 4])
    """
    return build_from_spec(build_spec(arch, model_options), seed=parse_seed("seed", seed))


def build_from_spec(
    spec: ModelSpec, *, seed: int = 0, on_drawn: Callable[[int, int], None] | None = None
) -> PreActivationResNet:
    """Build a network from its complete description.

    Args:
        spec: The network.
        seed: Seed of the weights.
        on_drawn: Called after each drawn parameter with how many numbers are drawn and how many there are.

    Returns:
        The network in train mode, float32, on the CPU.
    """
    check_fits(spec)
    model = lay_out(spec)
    materialize(model, seed, on_drawn)
    if spec.enorm:
        equi_normalize(model, **read_enorm_settings(spec.enorm_kw))
    return model


def lay_out(spec: ModelSpec) -> PreActivationResNet:
    """Return a network on the meta device: no memory, and no default initialization that would be thrown away.

    Args:
        spec: The network.

    Returns:
        The network without values, float32, for ``materialize`` or ``streamed``.
    """
    with torch.device("meta"), no_collection():  # which takes as long as the layout itself
        # The user may have set another default type; without memory, changing it costs nothing.
        return PreActivationResNet(spec).float()
