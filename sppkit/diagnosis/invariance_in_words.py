"""What a measurement of invariance says in words, each sentence from the numbers of its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

# Confidences further apart than this are not alike: of two classes, probabilities of 0.85 and 0.7 have logits that are
# 1.7 and 0.85 apart, one twice the other.
_APART = 0.15
_FEWEST = 3
# Without any relation, Spearman's correlation of n classes has the standard deviation 1 / sqrt(n - 1); 95 % of chance
# lies within so many.
_BY_CHANCE = 1.96


def iter_sentences(classes: pd.DataFrame, blocks: pd.DataFrame, result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the means over classes, the extremes, how eKLD goes with size, and where the features move the most."""
    error = result["ekld_se"]
    spread = "" if error is None else f" ± {error:.1g}"
    if result["ekld"] is not None:
        yield f"all classes: eKLD {result['ekld']:.3g}{spread} nats, consistency {result['consistency']:.3f}"
    else:
        yield f"all classes: eKLD infinite, consistency {result['consistency']:.3f}"
    least, most = (classes.loc[getattr(classes["ekld"], pick)()] for pick in ("idxmin", "idxmax"))
    if least["ekld"] < most["ekld"]:
        yield f"most invariant: {_name(least)} ({least['ekld']:.3g}); least: {_name(most)} ({most['ekld']:.3g})"
    correlation = result.get("rank_correlation_with_train_size")
    if correlation is not None and len(classes) >= _FEWEST:
        chance = _BY_CHANCE / (len(classes) - 1) ** 0.5
        way = "does not clearly go" if abs(correlation) < chance else "falls" if correlation < 0 else "grows"
        yield f"eKLD {way} with the size of the class: rank correlation {correlation:.2f} over {len(classes)} classes"
    confident = classes["confidence"]
    if confident.max() - confident.min() > _APART:
        yield (
            f"the mean confidence of classes is {confident.min():.2f} to {confident.max():.2f}: eKLD compares them at "
            "like confidence only"
        )
    yield from _iter_block_sentences(blocks)


def _iter_block_sentences(blocks: pd.DataFrame) -> Iterator[str]:
    everything = blocks[blocks["class"].isna()].dropna(subset="signal_to_shift")
    if len(everything) > 1:
        rows: list[Any] = everything.to_dict("records")
        lowest, last = min(rows, key=lambda row: row["signal_to_shift"]), rows[-1]
        yield (
            f"features move the most at {lowest['name']} (signal-to-shift {lowest['signal_to_shift']:.2f}; "
            f"at the last, {last['name']}, {last['signal_to_shift']:.2f})"
        )


def _name(row: Any) -> str:
    return str(row["class_name"]) if "class_name" in row else f"class {row['class']:.0f}"
