"""pytest: ``assert_spp(model)`` in a test fails where the model's signal propagation is unhealthy, or has changed.

Ask for the fixture of this name; nothing but pytest is imported before it is used. ``pytest --spp-bless`` accepts what
the tests measure as their new baselines.

    def test_signal_propagation(assert_spp):
        assert_spp(build_my_model, shape=(3, 64, 64), baseline=True)
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from sppkit.gate.verdict import Verdict

_OFF = {"", "0", "false"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--spp-bless``."""
    parser.getgroup("sppkit").addoption(
        "--spp-bless", action="store_true", help="Accept what assert_spp measures as the new baselines."
    )


@pytest.fixture(name="assert_spp")
def _fixture(request: pytest.FixtureRequest) -> Callable[..., Verdict]:
    """Return ``assert_spp``, with baselines below pytest's root folder, each named after the test and the call."""
    from sppkit.integrations.baseline_names import choose, key_of

    folder = Path(request.config.rootpath) / ".sppkit" / "baselines"
    test, calls = request.node.nodeid, itertools.count(1)

    def bound(model: Any, inputs: Any = None, *, baseline: bool | str | Path | None = None, **options: Any) -> Verdict:
        __tracebackhide__ = True
        if baseline is False:
            return assert_spp(model, inputs, **options)
        given = isinstance(baseline, (str, Path))
        call = 0 if given else next(calls)
        path = (
            Path(str(baseline))
            if given
            else choose(folder, test, call, [item.nodeid for item in request.session.items])
        )
        if request.config.getoption("--spp-bless"):
            key = path.stem if given else key_of(test, call)
            path = path if given else folder / f"{key}.json"
            _bless(model, inputs, path, key=key, **options)
        is_held = bool(baseline) or path.exists()
        return assert_spp(model, inputs, baseline=path if is_held else None, **options)

    return bound


def assert_spp(
    model: Any,
    inputs: Any = None,
    *,
    shape: tuple[int, ...] = (3, 64, 64),
    batch_size: int = 8,
    seeds: int | None = None,
    seed: int = 0,
    mode: str | None = "train",
    policy: Any = None,
    baseline: str | Path | None = None,
    exact: bool = False,
) -> Verdict:
    """Fail unless a model's signal propagation is healthy.

    Args:
        model: A factory, which is called under every seed so that each draws its own weights, or a model, of which only
            the input varies.
        inputs: One batch, or several, as for ``measure``; Gaussian noise of ``shape`` where it is None.
        shape: Shape of one sample of noise.
        batch_size: Samples in a batch of noise.
        seeds: How many seeds; 4 by default, and 1 for a given model on given inputs, where nothing varies.
        seed: The first seed.
        mode: ``"train"``, ``"eval"``, or None to keep the model's own flags.
        policy: As for ``sppkit.check``.
        baseline: A baseline's file, or None. With the fixture: True for one named after the test, which must be there,
            False for none, and None for one named after the test where it exists.
        exact: Whether nothing may change against the baseline.

    Returns:
        The verdict, which has passed.

    Raises:
        AssertionError: If it has not; the text is the report of ``sppkit check``.
        UsageError: If an argument can't be used.
    """
    __tracebackhide__ = True
    from dataclasses import replace

    from sppkit.gate.check import check
    from sppkit.gate.reports.terminal import render_text
    from sppkit.record.source_lines import locate_blocks

    built, table, record = _measure_configured(model, inputs, shape, batch_size, seeds, seed, mode)
    if baseline is not None and not Path(baseline).exists():
        raise AssertionError(f"there is no baseline {baseline}.\nTo accept what is measured now: pytest --spp-bless")
    verdict = check(table, policy=policy, baseline=baseline, record=record, exact=exact)
    places = locate_blocks(built, verdict.sites)
    verdict = replace(verdict, name=type(built).__name__, places=places)
    if not verdict.passed:
        raise AssertionError("\n" + render_text(verdict) + _accept(baseline))
    return verdict


def _accept(baseline: str | Path | None) -> str:
    return "" if baseline is None else "\nIf the change is meant: pytest --spp-bless, and commit the baseline."


def _measure_configured(
    model: Any,
    inputs: Any,
    shape: tuple[int, ...],
    batch_size: int,
    seeds: int | None,
    first: int,
    mode: str | None,
) -> tuple[Any, pd.DataFrame, Mapping[str, Any]]:
    import pandas as pd
    from torch import nn

    from sppkit.inputs.gaussian import draw_batch
    from sppkit.measuring.digest_weights import digest_weights, merge_digests
    from sppkit.registry import DEFAULT_STATISTICS

    is_given = isinstance(model, nn.Module)
    count = seeds or (1 if is_given and inputs is not None else 4)
    tables, weights = [], []
    for seed in range(first, first + count):
        built = model if is_given else _build(model, seed)
        weights.append(digest_weights(built))
        batch = draw_batch((batch_size, *shape), seed, 0) if inputs is None else inputs
        tables.append(_measure_seed(built, batch, mode, seed))
    record: dict[str, Any] = {"mode": mode or "own", "dtype": "float32", "seeds": list(range(first, first + count))}
    record["options"] = {"stats": {"value": list(DEFAULT_STATISTICS), "source": "default"}}
    record["weights"] = merge_digests(weights)
    if inputs is None:
        record["input"] = {"kind": "gaussian", "batch_shape": [batch_size, *shape], "batches": 1}
    return built, pd.concat(tables, ignore_index=True), record


def _measure_seed(model: Any, batch: Any, mode: Any, seed: int) -> pd.DataFrame:
    # What ``sppkit check`` measures: with what a verdict on a user's network takes, where that can be had.
    from sppkit.errors import SppkitError
    from sppkit.measuring.measure import measure
    from sppkit.registry import DEFAULT_STATISTICS, HEALTH_STATISTICS

    try:
        return measure(model, batch, mode=mode, seed=seed, stats=(*DEFAULT_STATISTICS, *HEALTH_STATISTICS))
    except SppkitError:  # some networks run only where nothing is differentiated; what ails others is told below
        return measure(model, batch, mode=mode, seed=seed)


def _build(factory: Callable[[], Any], seed: int) -> Any:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return factory()


def _bless(model: Any, inputs: Any, path: Path, *, key: str, **options: Any) -> None:
    from sppkit.gate.at_commit import current_commit
    from sppkit.gate.baseline import write_baseline

    if os.environ.get("CI", "").lower() not in _OFF:
        raise pytest.UsageError("--spp-bless: a baseline is accepted by someone who looks at it, and CI is set here.")
    known = {name: options.get(name, default) for name, default in _DEFAULTS.items()}
    _, table, record = _measure_configured(model, inputs, *known.values())
    write_baseline(key, table, record, path, reason="pytest --spp-bless", commit=current_commit())


# What decides a measurement, in the order of ``_measure``.
_DEFAULTS: dict[str, Any] = {
    "shape": (3, 64, 64), "batch_size": 8, "seeds": None, "seed": 0, "mode": "train",
}  # fmt: skip
