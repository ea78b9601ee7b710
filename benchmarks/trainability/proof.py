"""The proof as a page: verdicts against training by family, and the score against fragility as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gate.report import MARK
from benchmarks.trainability.cases import is_fitted, is_fresh
from benchmarks.trainability.measure import INPUTS
from benchmarks.trainability.train import SEEDS, SETTINGS, lowest_loss
from benchmarks.trainability.verdicts import Judged, iter_judged, rank_correlation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURE = DOCS / "verdict-proof.md", DOCS / "images" / "verdict-proof.png"
# First fitting wins.
_FAMILIES = {
    "plain convolutional": ("plain", "detached", "separable", "leaky"),
    "MLP with skips": ("gates-residual", "mlp-pre", "mlp-post", "mlp-branch", "mlp-residual", "no-grad-branches",
                       "highway", "skip-over", "skip-halved", "branch-over"),
    "MLP": ("mlp", "no-grad-layers", "one-layer", "input", "gates", "biased", "squared", "small"),
    "transformer": ("gpt", "vit", "encoder", "language", "vision", "positions", "patches"),
    "mixer": ("mixer",),
    "recurrent": ("recurrent", "gated", "rnn", "lstm", "gru"),
    "residual convolutional": ("",),
}  # fmt: skip
# Learns with so few settings, or has come so far without: a little more of either, and it is another case.
_FEW_SETTINGS, _PART_OF_THE_WAY = 1.0, 0.85


def write_page(tables: Path) -> None:
    """Fill the page's marked parts, and draw the picture."""
    judged = list(iter_judged(tables))
    parts = {"summary": "\n".join(_iter_summary(judged)), "families": "\n".join(_iter_families(judged))}
    parts["wrong"] = "\n".join(_iter_wrong(judged))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARK.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n\n{found[3]}", page), encoding="utf-8")
    _draw([each for each in judged if each.source == "real"])


def is_edge(each: Judged) -> bool:
    """Return whether training itself says that a network is at the edge."""
    return each.working <= _FEW_SETTINGS if each.trained else lowest_loss(each.case) < _PART_OF_THE_WAY


def family(each: Judged) -> str:
    """Return a case's family."""
    return next(name for name, kinds in _FAMILIES.items() if each.case.kind.removeprefix("fresh-").startswith(kinds))


def _iter_summary(judged: list[Judged]) -> Iterator[str]:
    cases = {each.case.name for each in judged}
    kinds = {each.case.kind for each in judged}
    sick = {each.case.name for each in judged if not each.trained}
    yield (
        f"- {len(cases)} networks of {len(kinds)} kinds, of which {len(sick)} don't learn; each was trained with "
        f"{len(SETTINGS)} optimizer settings and {len(SEEDS)} seeds."
    )
    for source in INPUTS:
        of = [each for each in judged if each.source == source]
        held_out = [each for each in of if not is_fitted(each.case) and not is_fresh(each.case)]
        fresh = [each for each in of if is_fresh(each.case)]
        clear = [each for each in fresh if not is_edge(each)]
        failed = [each.working for each in of if each.trained and not each.passed]
        yield (
            f"- measured with {'Gaussian' if source == 'gaussian' else 'real'} input: {_share(of)} verdicts right, "
            f"{_share(held_out)} on the kinds that were held out, **{_share(fresh)} on fresh ones**, {_share(clear)} "
            f"on fresh ones away from the edge; {len(failed)} that learn fail, with {max(failed, default=0):g} of "
            f"{len(SETTINGS)} settings at most; rank correlation of score and settings {rank_correlation(of):.2f}, on "
            f"fresh kinds {rank_correlation(fresh):.2f}"
        )


def _iter_families(judged: list[Judged]) -> Iterator[str]:
    yield "| family | networks | right | learn and pass | don't learn and fail | held out and fresh: right |"
    yield "|---|--:|--:|--:|--:|--:|"
    of = [each for each in judged if each.source == "real"]
    for name in sorted(_FAMILIES):
        rows = [each for each in of if family(each) == name]
        healthy, sick = ([each for each in rows if each.trained is trained] for trained in (True, False))
        held_out = [each for each in rows if not is_fitted(each.case)]
        yield f"| {name} | {len(rows)} | {' | '.join(map(_share, (rows, healthy, sick, held_out)))} |"


def _iter_wrong(judged: list[Judged]) -> Iterator[str]:
    of = [each for each in judged if each.source == "real" and not each.right]
    for what, rows in (
        ("learn, and fail", [each for each in of if each.trained]),
        ("don't learn, and pass with a warning", [each for each in of if not each.trained and each.because]),
        ("don't learn, and pass", [each for each in of if not each.trained and not each.because]),
    ):
        yield f"- {what}: {', '.join(f'`{each.case.name}`' for each in rows) or 'none'}"


def _share(judged: Iterable[Judged]) -> str:
    flags = [each.right for each in judged]
    return f"{sum(flags)}/{len(flags)}" + (f" ({sum(flags) / len(flags):.0%})" if flags else "")


def _draw(judged: list[Judged]) -> None:
    import numpy as np
    from matplotlib.figure import Figure

    draws = np.random.default_rng(0)
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    groups = (
        ("0.6", "kinds for fitting", [each for each in judged if is_fitted(each.case)]),
        ("C0", "held out", [each for each in judged if not is_fitted(each.case) and not is_fresh(each.case)]),
        ("C1", "fresh", [each for each in judged if is_fresh(each.case)]),
    )
    for colour, label, rows in groups:
        ranks = [_place(each) for each in rows]
        scatter = draws.uniform(-0.15, 0.15, len(rows))
        axes.scatter(ranks, np.array([each.working for each in rows]) + scatter, s=12, c=colour, label=label, lw=0)
    axes.axvline(0, color="0.8", lw=1, zorder=0)
    axes.set_xlabel("verdict: fails ← 0 → warns, nothing found (log of the excess, largest finding)")
    axes.set_ylabel(f"settings that work, of {len(SETTINGS)}")
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(PICTURE, dpi=130)


def _place(each: Judged) -> float:
    """Return a score as a place on an axis without the gap between warned and failed."""
    if each.score <= -100:
        return each.score + 100 - 0.5
    return 0.5 + (12.0 + each.score if each.score < 0 else 13.0)
