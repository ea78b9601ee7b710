"""Sentences on a shift: each true of the table it is said of, and not said of one where it is false."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from sppkit.curves.shift import read_shifts
from sppkit.diagnosis.shift_in_words import iter_sentences
from sppkit.record.shift_table import build_shift_table


def table(
    style: list[float | None], kept: list[float | None] | None = None, *, shift: str = "contrast", **more: Any
) -> pd.DataFrame:
    names = ["input", "stem", *(f"blocks.{index}" for index in range(len(style) - 2))]
    rows = [
        {
            "seed": 0, "shift": shift, "block": block - 1, "name": names[block], "style_shift": value,
            "signal_kept": kept[block] if kept else 0.5, "log2_variance_ratio": 0.0, "nonfinite": 0, **more,
        }
        for block, value in enumerate(style)
    ]  # fmt: skip
    return build_shift_table(rows)


def said(*tables: pd.DataFrame) -> list[str]:
    return list(iter_sentences({f"net{index}": item for index, item in enumerate(tables)}))


@pytest.mark.parametrize(
    ("style", "verdict"),
    [
        ([0.5, 0.8, 0.3, 0.05], "absorbed to a tenth or less"),
        ([0.5, 0.8, 0.3, 0.2], "it falls to 25%"),
        ([0.5, 0.8, 0.3, 0.7], "it stays of that size"),
        ([0.5, 0.8, 0.3, 2.4], "it grows 3-fold"),
        ([0.0, 0.001, 0.3, 2.4], "hardly any enters, it arises inside"),
        ([0.001, 0.002, 0.3, 0.009], "hardly any, anywhere"),
    ],
)
def test_what_becomes_of_style(style: list[float | None], verdict: str) -> None:
    [sentence] = said(table(style))
    assert f"{style[-1]:.2g} behind the last block: {verdict};" in sentence
    others = {"absorbed", "falls", "stays", "grows", "arises", "hardly"} - set(verdict.split())
    assert not others & set(sentence.replace(",", "").split())


def test_where_it_enters_and_where_it_is_largest() -> None:
    [sentence] = said(table([0.1, 0.4, 3.0, 0.3]))
    assert sentence.startswith("contrast: style shift 0.4 where it enters, at most 3 (blocks.0), 0.3 behind")


def test_no_style_is_no_number() -> None:
    [sentence] = said(table([0.5, 0.4, None, 0.3]))
    assert "no style is left at blocks.0, so there is no number there" in sentence
    [sentence] = said(table([0.5, 0.4, 0.2, None]))
    assert "at most 0.5 (input); behind the last block no style is left;" in sentence
    [sentence] = said(table([None, None, None, None]))
    assert sentence.startswith("contrast: the channels' means tell no pictures apart, neither in the input nor in any")
    assert "no style" not in said(table([0.5, 0.4, 0.2, 0.3]))[0]


def test_how_much_is_kept() -> None:
    [sentence] = said(table([0.5] * 4, [0.9, 0.8, 0.7, 0.6]))
    assert sentence.endswith("0.6 of the signal is kept behind the last block.")
    [sentence] = said(table([0.5] * 4, [0.9, 0.8, -0.1, -0.6]))
    assert sentence.endswith("from blocks.0 on a picture is farther from its shifted form than from another picture.")
    [sentence] = said(table([0.5] * 4, [0.9, -0.1, 0.2, -0.6]))
    assert "from stem on, here and there, a picture is farther" in sentence
    [sentence] = said(table([0.5, 0.5, 0.5, None], [0.9, 0.8, 0.7, None]))
    assert sentence.endswith("how much of the signal is kept can't be said where no style is left.")
    [sentence] = said(table([0.5, 0.5, 0.5, 0.2], [0.9, 0.8, 0.7, None]))
    assert sentence.endswith("how much of the signal is kept can't be said where all pictures are alike.")


def test_networks_are_told_apart() -> None:
    sentences = said(table([0.5, 0.5, 0.1]), table([0.5, 0.5, 0.9]), table([0.5, 0.5, 0.3]))
    assert sentences[0].startswith("net0, contrast: ")
    assert sentences[3] == "contrast: net0 shifts least behind the last block (0.1), net1 most (0.9)."
    sentences = said(table([0.5, 0.5, None]), table([0.5, 0.5, 0.9]), table([0.5, 0.5, 0.3]))
    assert sentences[3] == "contrast: behind the last block of net0 no style is left."
    assert sentences[4] == "contrast: of the others, net2 shifts least behind the last block (0.3), net1 most (0.9)."


def test_of_many_only_what_differs_is_said() -> None:
    many = [
        table([0.5, 0.4, value, end]) for value, end in ((0.3, 0.1), (None, 0.2), (0.3, 0.3), (0.1, 0.4), (0.2, 0.5))
    ]
    assert said(*many) == [
        "net1: no style is left at blocks.0, so there is no number there.",
        "contrast: net0 shifts least behind the last block (0.1), net4 most (0.5).",
    ]


def test_lost_values_say_nothing_else() -> None:
    lost = table([0.5, 0.5, None])
    lost.loc[2, "nonfinite"] = 7
    assert said(lost) == ["contrast: values are not finite from blocks.0 on: there is nothing to tell."]
    sentences = said(lost, table([0.5, 0.5, 0.9]))
    assert not any("no style" in sentence or "least" in sentence for sentence in sentences)


def test_seeds_are_averaged() -> None:
    both = pd.concat([table([0.5, 0.5, 0.1], seed=0), table([0.5, 0.5, 0.3], seed=1)], ignore_index=True)
    [curves] = read_shifts(both)
    assert curves.figures["style_shift"].tolist() == pytest.approx([0.5, 0.5, 0.2])
    assert curves.summary() == ["0.5", "0.5", "0.2", "1", "0.5"]
    assert read_shifts(table([0.5, 0.5, None]))[0].summary()[2] == "none"
