"""The state of a training, and one step of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sppkit.inputs.shifts.generative.losses import Terms, absolute_difference, adversarial, discrimination
from sppkit.inputs.shifts.generative.networks import Discriminator, Networks, initialize
from sppkit.inputs.shifts.generative.sampling import BalancedSampler, draw_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sppkit.inputs.shifts.generative.sampling import Draw
    from sppkit.inputs.shifts.generative.sizes import Settings, Sizes

# Of Adam, as published.
BETAS = (0.5, 0.999)
# What Adam keeps of each parameter, beside the number of steps.
MOMENTS = ("exp_avg", "exp_avg_sq")
# Of the tensors of a state.
NAMES = ("networks", "discriminators")
LOSSES = "losses"
COLUMNS = (*Terms._fields, "discriminator")


class Training:
    """Networks, optimizers and pictures of a training; it draws its numbers by (seed, step), so it can be gone on with.

    Attributes:
        networks: Of each domain; the first is what is kept.
        discriminators: Of each domain.
        optimizers: Adam of the networks, and of the discriminators.
        steps: How many are done.
    """

    def __init__(
        self, sizes: Sizes, settings: Settings, pictures: Tensor, labels: NDArray[np.int64], device: torch.device
    ) -> None:
        """Draw the first weights; ``pictures`` are (N, C, H, W) in [0, 1]."""
        self.sizes, self.settings = sizes, settings
        self.networks = [Networks(sizes) for _ in range(sizes.domains)]
        self.discriminators = [Discriminator(sizes) for _ in range(sizes.domains)]
        self._modules = (nn.ModuleList(self.networks), nn.ModuleList(self.discriminators))
        for name, module in zip(NAMES, self._modules, strict=True):
            initialize(module, settings.seed, name)
            module.to(device)
        self.optimizers = tuple(
            torch.optim.Adam(
                module.parameters(), lr=settings.learning_rate, betas=BETAS, weight_decay=settings.weight_decay
            )
            for module in self._modules
        )
        self.steps = 0
        self._losses = torch.empty(0, len(COLUMNS))
        self._new_losses: list[Tensor] = []
        self._pictures = (2 * pictures - 1).to(device)
        self._sampler = BalancedSampler(labels)

    def step(self) -> None:
        """Train the discriminators once, then the networks, on one draw of pictures and styles."""
        draws = draw_step(self._sampler, self.sizes, self.settings, self.steps)
        real = [self._take(draw) for draw in draws]
        styles = [torch.from_numpy(draw.styles).to(self._pictures.device) for draw in draws]
        encoded = [(n.content(x), n.style(x)) for n, x in zip(self.networks, real, strict=True)]
        # Each domain decodes what the other, or in a single domain itself, has encoded.
        contents = [content for content, _ in encoded][::-1]
        decoded = [n.decode(c, z) for n, c, z in zip(self.networks, contents, styles, strict=True)]
        judged = self._train_discriminators(real, [picture.detach() for picture in decoded])
        terms = self._terms(real, styles, encoded, contents, decoded)
        _descend(self.optimizers[0], terms.total())
        self._new_losses.append(torch.stack([*terms, judged]).detach())
        self.steps += 1

    def losses(self) -> Tensor:
        """Return the generator's terms and the discriminator's loss, summed over the domains, one row per step."""
        if self._new_losses:  # those of a GPU come over together, not step by step
            self._losses = torch.cat([self._losses, torch.stack(self._new_losses).cpu()])
            self._new_losses.clear()
        return self._losses

    def state(self) -> dict[str, Tensor]:
        """Return all that a later process needs to go on: weights, Adam's moments, losses."""
        tensors = {LOSSES: self.losses()}
        for module, optimizer, prefix in self._optimized():
            for name, parameter in module.named_parameters():
                tensors[f"{prefix}.{name}"] = parameter.detach()
                moments = optimizer.state[parameter].items()
                tensors |= {f"adam.{prefix}.{name}.{moment}": tensor for moment, tensor in moments}
        return tensors

    def shapes(self, steps: int) -> dict[str, torch.Size]:
        """Return the names and shapes of the state after some steps."""
        shapes = {LOSSES: torch.Size((steps, len(COLUMNS)))}
        for module, _, prefix in self._optimized():
            for name, parameter in module.named_parameters():
                shapes[f"{prefix}.{name}"] = parameter.shape
                shapes |= {f"adam.{prefix}.{name}.{moment}": parameter.shape for moment in MOMENTS}
                shapes[f"adam.{prefix}.{name}.step"] = torch.Size(())
        return shapes

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._losses = tensors[LOSSES]
        self.steps = len(self._losses)
        for module, optimizer, prefix in self._optimized():
            for name, parameter in module.named_parameters():
                with torch.no_grad():
                    parameter.copy_(tensors[f"{prefix}.{name}"])
                state = {moment: tensors[f"adam.{prefix}.{name}.{moment}"] for moment in MOMENTS}
                optimizer.state[parameter] = {
                    # Adam counts on the CPU, wherever the parameter is.
                    "step": tensors[f"adam.{prefix}.{name}.step"],
                    **{moment: tensor.to(parameter.device) for moment, tensor in state.items()},
                }

    def _optimized(self) -> Iterator[tuple[nn.Module, torch.optim.Optimizer, str]]:
        yield from zip(self._modules, self.optimizers, NAMES, strict=True)

    def _take(self, draw: Draw) -> Tensor:
        device = self._pictures.device
        chosen = self._pictures[torch.from_numpy(draw.indices).to(device)]
        return torch.where(torch.from_numpy(draw.mirrored).to(device)[:, None, None, None], chosen.flip(3), chosen)

    def _train_discriminators(self, real: list[Tensor], decoded: list[Tensor]) -> Tensor:
        self._modules[1].requires_grad_(True)
        losses = [discrimination(d(x), d(y)) for d, x, y in zip(self.discriminators, real, decoded, strict=True)]
        loss = torch.stack(losses).sum()
        _descend(self.optimizers[1], loss)
        self._modules[1].requires_grad_(False)
        return loss

    def _terms(
        self,
        real: list[Tensor],
        styles: list[Tensor],
        encoded: list[tuple[Tensor, Tensor]],
        contents: list[Tensor],
        decoded: list[Tensor],
    ) -> Terms:
        """Return the terms of the generator's loss, summed over the domains."""
        rows = []
        for index, (n, d) in enumerate(zip(self.networks, self.discriminators, strict=True)):
            picture = decoded[index]
            rows.append((
                absolute_difference(real[index], n.decode(*encoded[index])),
                absolute_difference(styles[index], n.style(picture)),
                absolute_difference(contents[index], n.content(picture)),
                adversarial(d(picture)),
            ))
        return Terms(*(torch.stack(term).sum() for term in zip(*rows, strict=True)))


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
