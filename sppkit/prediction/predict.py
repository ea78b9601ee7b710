"""Theory's curves for a named architecture: spec -> recursion -> columns of the table. Runs no network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sppkit.config.options import RunConfig, parse_values
from sppkit.errors import UsageError
from sppkit.models.places import INPUT_CHANNELS, iter_places
from sppkit.models.scaling import iter_expected_variance
from sppkit.models.spec import build_spec
from sppkit.prediction.describe_network import activation_of, describe_network
from sppkit.record.table import STATISTIC_COLUMNS, build_table
from sppkit.registry import normalizer_facts, weight_facts
from sppkit.theory.backward import expected_gradients
from sppkit.theory.expectation import expected_residual_variance
from sppkit.theory.network import iter_expected
from sppkit.theory.signal import Batch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import pandas as pd

    from sppkit.config.resolve import Resolved
    from sppkit.models.spec import ModelSpec
    from sppkit.theory.curve import Curve
    from sppkit.theory.network import Expected

# Columns of each statistic's prediction, and of its standard deviation from seed to seed.
GRADIENT = "gradient_second_moment"
_PREDICTED = {
    name: (f"predicted_{name}", f"predicted_{name}_spread") for name in (*STATISTIC_COLUMNS, GRADIENT)
}  # fmt: skip


class Setting(NamedTuple):
    """What a network is measured with.

    Attributes:
        height: Rows of the image.
        width: Columns of the image.
        samples: In a batch.
        batches: How many; the statistics are those of their union.
        mode: ``train`` or ``eval``.
        warmup: Batches that moved the running statistics before.
        kind: Kind of input; theory knows ``gaussian``.
    """

    height: int
    width: int
    samples: int
    batches: int = 1
    mode: str = "train"
    warmup: int = 0
    kind: str = "gaussian"


def predict(
    arch: str,
    *,
    image_size: int = 224,
    shape: tuple[int, int, int] | None = None,
    batch_size: int = 8,
    batches: int = 1,
    mode: str = "train",
    stats: object = None,
    **model_options: object,
) -> pd.DataFrame:
    """Predict the curves of a named architecture under Gaussian input, without running it.

    The recursion of a covariance between positions, in the limit of many channels; docs/theory.md derives it and has
    its distance from measurements.

    Args:
        arch: ``bn-relu-conv``, ``relu-bn-conv``, ``nf-resnet`` or ``he-resnet``.
        image_size: Height and width of the input.
        shape: (3, height, width) of the input, instead of ``image_size``.
        batch_size: Samples in a batch.
        batches: Batches; the statistics are those of their union.
        mode: ``train`` (batch statistics) or ``eval`` (running statistics, which are 0 and 1 before any training).
        stats: Statistics as of ``measure``; with the gradient's second moment among them, ``plot_spp`` draws that too.
        **model_options: As of ``build_model``.

    Returns:
        One row per block with the columns of a measured table: the measured ones empty, and after them
        ``predicted_<statistic>`` and ``predicted_<statistic>_spread``, the standard deviation that is expected from
        seed to seed.

    Raises:
        UsageError: For an unknown name, an illegal value, or a network that theory can't predict.

    >>> table = predict("bn-relu-conv", stages=(2, 2), padding="circular")
    >>> [f"{value:.2f}" for value in table["predicted_residual_variance"][1:]]
    ['0.68', '0.68', '0.68', '0.68']
    """
    given = {"image_size": image_size, "batch_size": batch_size, "batches": batches, "mode": mode}
    if shape is not None:
        given["shape"] = shape
    if stats is not None:
        given["stats"] = stats
    values = parse_values(RunConfig, given)
    height, width = map_size(values.get("shape"), values["image_size"], arch)
    spec = build_spec(arch, model_options)
    setting = Setting(height, width, values["batch_size"], values["batches"], values["mode"])
    return predict_spec(spec, setting, stats=values.get("stats", ()))


def map_size(shape: tuple[int, ...] | dict[str, str] | None, image_size: int, arch: str) -> tuple[int, int]:
    """Return height and width of the input.

    Args:
        shape: As given, or None.
        image_size: Taken where no shape is given.
        arch: The architecture, for the message.

    Returns:
        Height and width.

    Raises:
        UsageError: If the shape isn't that of an image.
    """
    if shape is None:
        return image_size, image_size
    if isinstance(shape, dict) or len(shape) != 3 or shape[0] != INPUT_CHANNELS:
        raise UsageError(f"--shape must be {INPUT_CHANNELS},height,width for {arch}, not {','.join(map(str, shape))}.")
    return shape[1], shape[2]


def predict_spec(spec: ModelSpec, setting: Setting, *, seed: int = 0, stats: Collection[str] = ()) -> pd.DataFrame:
    """Predict the curves of a network.

    Args:
        spec: The network.
        setting: What it is measured with.
        seed: What the column ``seed`` holds; theory has none.
        stats: What was asked for: the gradient has its empty column, like the usual three, only where it is.

    Returns:
        As of ``predict``.

    Raises:
        UsageError: If theory can't predict it.
    """
    reason = why_unpredicted(spec, setting)
    if reason is not None:
        raise UsageError(f"theory has no prediction here: {reason}.")
    asked = {GRADIENT: None} if GRADIENT in stats else {}
    return build_table({"seed": seed} | asked | row for row in _iter_rows(spec, setting))


def with_predictions(
    table: pd.DataFrame, resolved: Resolved, described_input: Mapping[str, Any]
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Put theory's columns beside the measured ones.

    Args:
        table: The measured table, of one seed or several.
        resolved: The run's configuration.
        described_input: The input's description in the record.

    Returns:
        The table with its ``predicted_*`` columns, empty where there is no prediction and absent where none was asked
        for; and what the record says of them.
    """
    config = resolved.config
    if not config.theory:
        return table, {"predicted": False, "reason": "left out by --no-theory"}
    reason = "only a named architecture has predictions"
    predicted = None
    if config.checkpoint is not None:
        reason = "theory is of weights as they are drawn, not of a checkpoint's"
    elif config.sites not in {None, "found"}:
        reason = "corrections may have made other rows than theory knows"
    elif "shift" in described_input:
        reason = "the recursion starts from Gaussian input, not from a shifted one"
    elif config.arch:
        spec = build_spec(config.arch, resolved.given())
        setting = _setting(config, described_input)
        reason = why_unpredicted(spec, setting) or ""
        predicted = None if reason else predict_spec(spec, setting).set_index("block")
    columns = [column for name in config.stats for column in _PREDICTED.get(name, ())]
    added = {
        column: np.nan if predicted is None else table["block"].map(predicted[column]).astype("float64")
        for column in columns
    }
    return table.assign(**added), {"predicted": predicted is not None} | ({"reason": reason} if reason else {})


def _setting(config: RunConfig, described: Mapping[str, Any]) -> Setting:
    samples, _, height, width = described["batch_shape"]
    return Setting(
        height, width, samples, described["batches"], config.mode, config.warmup, kind=str(described["kind"])
    )


def why_unpredicted(spec: ModelSpec, setting: Setting) -> str | None:
    """Say why a network has no prediction.

    Args:
        spec: The network.
        setting: What it is measured with.

    Returns:
        The reason in a few words, or None where theory predicts it.
    """
    if not spec.textbook:
        return "the recursion knows no add-ons, noise, fixup, nf-regnet, or settings and orders of normalizers"
    if setting.kind != "gaussian":
        return "the recursion starts from Gaussian input, not from the covariance of real input"
    theory, filters = normalizer_facts(spec.norm).theory, weight_facts(spec.weights)
    if theory is None:
        return f"the recursion knows batch normalization and none, not {spec.norm}"
    if filters.centred is None or filters.squares is None:
        return f"the recursion does not know what the weights {spec.weights} make of a filter"
    if theory == "batch" and setting.mode == "eval" and setting.warmup:
        return "running statistics after a warm-up depend on its random batches"
    try:
        activation_of(spec)
    except UsageError as error:
        return str(error).partition("\n")[0].rstrip(".")
    return None


def borderless_residual_variance(spec: ModelSpec) -> float | None:
    """Return the residual variance that theory expects in every block of a network without borders.

    Args:
        spec: The network.

    Returns:
        The residual variance, or None where there is no such number.

    Raises:
        UsageError: If the activation has no gain and one is asked for.
    """
    if not spec.textbook:
        return None
    try:
        activation, gain = activation_of(spec)
    except UsageError:
        if spec.gain == "exact":
            raise
        return None
    return expected_residual_variance(
        activation,
        norm=spec.norm,
        norm_first=spec.norm_first,
        scaled=spec.scaled,
        weights=spec.weights,
        gain=gain,
        c=spec.weight_scale,
        se_factor=spec.se_factor if spec.se else None,
        largest_variance=max(iter_expected_variance(spec.stages, spec.alpha)),
        pooled=spec.stem == "imagenet",
        whole_branch=abs(spec.skip_gain) == 1 and spec.stochastic_depth == 0,
    )


def _iter_rows(spec: ModelSpec, setting: Setting) -> Iterator[dict[str, object]]:
    stages = [stage for stage, blocks in enumerate(spec.stages, 1) for _ in range(blocks)]
    channels = [spec.stem_channels, *(places[-1] for _, _, places in iter_places(spec))]
    acts = normalizer_facts(spec.norm).theory == "batch" and setting.mode == "train"
    network = describe_network(spec, normalizes=acts)
    batch = Batch(setting.samples, setting.batches)
    # A signal that leaves the floats has no prediction from there on.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rows = list(iter_expected(network, setting.height, setting.width, batch))
        gradients = expected_gradients([row.passage for row in rows[1:]], batch)
    for block, (expected, gradient) in enumerate(zip(rows, gradients, strict=True)):
        yield {
            "block": block,
            "stage": stages[block - 1] if block else 0,
            "name": f"blocks.{block - 1}" if block else "stem",
            "channels": channels[block],
            "height": expected.height,
            "width": expected.width,
            **_cells(expected, gradient),
        }


def _cells(expected: Expected, gradient: Curve) -> dict[str, float | None]:
    curves = dict(zip(STATISTIC_COLUMNS, expected[:3], strict=True)) | {GRADIENT: gradient}
    return {
        column: value if math.isfinite(value) else None
        for name, curve in curves.items()
        if curve is not None
        for column, value in zip(_PREDICTED[name], curve, strict=True)
    }
