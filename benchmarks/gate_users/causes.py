"""What a cause names, told from its words; to be kept in step with the sentences of the diagnosis."""

from __future__ import annotations

import re

# Concept to the words that name it. Text that only says what is seen (a factor) is no cause.
CONCEPTS = {
    "mean": r"\bmean\b(?! is gone)|shift together",
    "mean gone": r"mean is gone|weights are centred",
    "bias": r"\bbias",
    "activation": r"activation|\bReLU\b|GELU",
    "gain": r"\bgain\b(?! of 0)",
    "weights": r"weights|initialization|fan-(in|out)",
    "centred": r"not centred|centring",
    "scale": r"\bscaled?\b",
    "factor": r"\bfactor\b",
    "normalizer": r"normalizer|BatchNorm",
    "eval": r"eval mode|stored statistics",
    "alpha": r"\balpha\b|skip gain|LayerScale",
    "skip": r"\bskip\b(?! gain)|shortcut|transition",
    "dropout": r"dropout|dropped|stochastic depth",
    "dead": r"\bdead\b|lets nothing through",
    "pool": r"\bpool|max-pool",
    "stem": r"\bstem\b",
    "input": r"\binput\b",
    "overflow": r"overflow|divides by zero",
    "padding": r"padding",
}


def concepts_in(cause: str) -> set[str]:
    """Return what a sentence names: behind its colon, where it has one, as what stands before says what is seen."""
    seen, _, offered = cause.partition(": ")
    named = {concept for concept, words in CONCEPTS.items() if re.search(words, offered or seen)}
    # These are named before the colon, and are causes in themselves.
    return named | {concept for concept in ("stem", "input", "dead", "overflow") if re.search(CONCEPTS[concept], seen)}


def judge_cause(cause: str, allowed: tuple[str, ...]) -> str:
    """Say whether a cause is ``right`` (one that is offered is the planted one), ``wrong``, or ``absent``."""
    named = concepts_in(cause)
    if not named:
        return "absent"
    return "right" if named & set(allowed) else "wrong"
