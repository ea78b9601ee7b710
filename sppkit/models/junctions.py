"""Where the hidden units of a network are written and read: what may be rescaled without changing what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from sppkit.errors import UsageError
from sppkit.models.resnet import PreActivationResNet
from sppkit.models.spec import refuse_rescaling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.models.block import ResidualBlock

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALIZERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# f(d x) = d f(x) for d > 0; max- and average-pooling too.
_HOMOGENEOUS = (
    *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)


@dataclass(frozen=True, eq=False)
class Junction:
    """The units of one hidden layer, or of one residual stream, which share a factor each.

    Attributes:
        writers: Weights that write the units, on their axis 0 (the rows of a matrix), or a normalizer's scales.
        readers: Weights that read them, on axis 1.
        biases: Offsets that are scaled like the writers and count in no norm.
    """

    writers: tuple[Tensor, ...]
    readers: tuple[Tensor, ...]
    biases: tuple[Tensor, ...] = ()


def find_junctions(model: nn.Module, *, last: bool = True, batch_norm: bool = True) -> list[Junction]:
    """Find the junctions of a network."""
    if isinstance(model, PreActivationResNet):
        found = list(_iter_residual(model, batch_norm=batch_norm))
    elif isinstance(model, nn.Sequential):
        found = list(_iter_chain(model, batch_norm=batch_norm))
    else:
        raise UsageError(
            f"{type(model).__name__} is no named architecture and no nn.Sequential: its junctions are not found.\n"
            "Give equi_normalize a list of sppkit.models.junctions.Junction."
        )
    return found if last else found[:-1]


@dataclass(frozen=True)
class JunctionPaths:
    """The modules whose weights write and read the units of a junction.

    Attributes:
        writers: Qualified names.
        readers: Qualified names.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]


def find_junction_paths(model: nn.Module) -> list[JunctionPaths]:
    """Find the junctions of a network by the names of their modules, whatever holds the weights now."""
    if isinstance(model, PreActivationResNet):
        refuse_rescaling(model.spec)
    paths = {id(parameter): name.rpartition(".")[0] for name, parameter in model.named_parameters()}

    def path_of(tensor: Tensor) -> str:
        # A weight after a flattened map is read through a view of it.
        return paths[id(tensor) if id(tensor) in paths else id(tensor._base)]  # noqa: SLF001

    return [
        JunctionPaths(tuple(map(path_of, item.writers)), tuple(map(path_of, item.readers)))
        for item in find_junctions(model)
    ]


def _iter_chain(model: nn.Sequential, *, batch_norm: bool) -> Iterator[Junction]:
    writer: nn.Module | None = None
    for path, layer in _iter_layers(model):
        if isinstance(layer, _NORMALIZERS):
            if batch_norm:
                writer = layer if layer.affine else None
        elif isinstance(layer, _WEIGHTED):
            _refuse_groups(path, layer)
            if writer is not None:
                yield _pair(writer, layer)
            writer = layer
        elif not isinstance(layer, (*_HOMOGENEOUS, nn.Flatten)):
            raise UsageError(
                f"{path} ({type(layer).__name__}) does not commute with scaling, so nothing can be balanced."
            )


def _iter_layers(model: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential):
            yield from _iter_layers(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _refuse_groups(path: str, layer: nn.Module) -> None:
    if getattr(layer, "groups", 1) > 1:
        raise UsageError(
            f"{path} is a grouped convolution, whose inputs are not on axis 1 of its weight: not supported."
        )


def _pair(writer: nn.Module, reader: nn.Module) -> Junction:
    units = _weight(writer).shape[0]
    weight = _weight(reader)
    if weight.shape[1] != units:
        # A linear layer after a flattened map reads every channel at several positions.
        weight = weight.view(weight.shape[0], units, -1)
    return Junction((_weight(writer),), (weight,), _bias(writer))


def _iter_residual(model: PreActivationResNet, *, batch_norm: bool) -> Iterator[Junction]:
    blocks = [cast("ResidualBlock", block) for block in model.blocks]
    if model.spec.norm != "none":
        for block in blocks:
            yield from _iter_normalized(block) if batch_norm else _iter_branch(block)
        return
    # The stem's output is read by the first block only, which projects it.
    yield Junction((_weight(model.stem),), _entry(blocks[0]), _bias(model.stem))
    for index, block in enumerate(blocks):
        yield from _iter_branch(block)
        following = blocks[index + 1] if index + 1 < len(blocks) else None
        if following is not None and following.shortcut is not None:
            yield _stream(blocks[: index + 1], following)


def _iter_normalized(block: ResidualBlock) -> Iterator[Junction]:
    for index in range(block.convolutions):
        norm = block.get_submodule(f"norm{index}")
        readers = _entry(block) if index == 0 else (_weight(block.get_submodule(f"conv{index}")),)
        yield Junction((_weight(norm),), readers, _bias(norm))


def _iter_branch(block: ResidualBlock) -> Iterator[Junction]:
    for index in range(block.convolutions - 1):
        yield _pair(block.get_submodule(f"conv{index}"), block.get_submodule(f"conv{index + 1}"))


def _stream(blocks: list[ResidualBlock], following: ResidualBlock) -> Junction:
    """Return the stream of the stage that the last of these blocks closes: identity skips make it one set of units."""
    first = max(index for index, block in enumerate(blocks) if block.shortcut is not None)
    stage = blocks[first:]
    ends = [block.get_submodule(f"conv{block.convolutions - 1}") for block in stage]
    writers = [cast("nn.Module", stage[0].shortcut), *ends]
    readers = [reader for block in (*stage[1:], following) for reader in _entry(block)]
    biases = [bias for writer in writers for bias in _bias(writer)]
    return Junction(tuple(map(_weight, writers)), tuple(readers), tuple(biases))


def _entry(block: ResidualBlock) -> tuple[Tensor, ...]:
    convolutions = (block.get_submodule("conv0"), block.shortcut)
    return tuple(_weight(convolution) for convolution in convolutions if convolution is not None)


def _weight(module: nn.Module) -> Tensor:
    return module.get_parameter("weight")


def _bias(module: nn.Module) -> tuple[Tensor, ...]:
    bias = getattr(module, "bias", None)
    return (bias,) if isinstance(bias, Tensor) else ()
