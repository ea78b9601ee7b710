"""The proof as a page: what was planted and found, what was let pass, and the tolerances' trade-off as a curve."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

# Every tolerance's logarithm times these.
SCALES = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0]
_USER = "a user's model, width 0.25, 64 px"
MARK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render_page(page: str, results: dict[str, Any]) -> str:
    """Fill a page's marked parts."""
    parts = {
        "summary": _summary(results),
        "faults": _faults(results),
        "harmless": _harmless(results),
        "curve": _curve(results),
        "agreement": _agreement(results),
    }
    return MARK.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n\n{found[3]}", page)


def _summary(results: dict[str, Any]) -> str:
    faults, harmless = results["faults"], results["harmless"]
    missed = [row for row in faults if row["exit"] != 1]
    alarms = [row for row in harmless if row["exit"] != 0]
    count = len({row["fault"] for row in faults})
    policy, theory = (sum(row[key] for row in faults) for key in ("policy_alone", "theory_alone"))
    return (
        f"- {count} kinds of fault, {len(faults)} times planted: **{len(missed)} missed**; the first block named was "
        f"the right one or the next {sum(row['located'] for row in faults)} times, the cause was right "
        f"{sum(row['explained'] for row in faults)} times. Without a baseline {sum(map(_alone, faults))} were found: "
        f"{policy} by policy alone, {theory} by theory alone, which knows "
        f"the {sum(row['network'] != _USER for row in faults)} in named architectures.\n"
        f"- {len(harmless)} harmless changes: **{len(alarms)} false alarms**."
    )


def _faults(results: dict[str, Any]) -> str:
    lines = [
        "| fault | network | planted | times | found | block right | cause right | policy alone | theory alone |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in results["faults"]:
        groups.setdefault((row["fault"], row["network"]), []).append(row)
    for (fault, network), rows in groups.items():
        counts = [
            sum(row["exit"] == 1 for row in rows),
            *(sum(row[key] for row in rows) for key in ("located", "explained")),
        ]
        alone = [sum(row[key] for row in rows) for key in ("policy_alone", "theory_alone")]
        cells = [fault, network, str(rows[0]["planted"]), str(len(rows)), *map(str, counts), *map(str, alone)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _alone(fault: dict[str, Any]) -> bool:
    return bool(fault["policy_alone"] or fault["theory_alone"])


def _agreement(results: dict[str, Any]) -> str:
    lines = [
        "| architecture | seeds | networks | judged by theory | alarms | variances within | squared means within |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in sorted(results["agreement"], key=lambda row: (row["network"].partition(",")[0], -row["seeds"])):
        groups.setdefault((row["network"].partition(",")[0], row["seeds"]), []).append(row)
    for (arch, seeds), rows in groups.items():
        judged = [row for row in rows if row["judged"]]
        worst = [f"×{max((row[key] for row in judged), default=1.0):.2f}" for key in ("variances", "means")]
        counts = [len(rows), len(judged), sum(row["alarms"] > 0 for row in rows)]
        lines.append(f"| {' | '.join([arch, str(seeds), *map(str, counts), *worst])} |")
    return "\n".join(lines)


def _harmless(results: dict[str, Any]) -> str:
    tried = Counter(row["kind"] for row in results["harmless"])
    failed = Counter(row["kind"] for row in results["harmless"] if row["exit"] != 0)
    lines = ["| change | times | false alarms |", "|---|--:|--:|"]
    return "\n".join([*lines, *(f"| {kind} | {count} | {failed[kind]} |" for kind, count in tried.items())])


def rates(results: dict[str, Any]) -> list[tuple[float, float, float, float]]:
    """Return, for every scale: missed faults, false alarms, and false alarms without the test of chance."""
    compared = [row for row in results["harmless"] if row.get("sure") is not None]
    margins = [row["margin"] for row in results["faults"]]
    return [
        (
            scale,
            sum(margin <= scale for margin in margins) / len(margins),
            sum(row["sure"] > scale for row in compared) / len(compared),
            sum(row["every"] > scale for row in compared) / len(compared),
        )
        for scale in SCALES
    ]


def _curve(results: dict[str, Any]) -> str:
    lines = [
        "| tolerances × | variance within | missed faults | false alarms | false alarms without the test of chance |",
        "|--:|--:|--:|--:|--:|",
    ]
    for scale, missed, alarms, naive in rates(results):
        lines.append(f"| {scale:g} | ±{1.2**scale - 1:.0%} | {missed:.1%} | {alarms:.2%} | {naive:.1%} |")
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the trade-off."""
    from matplotlib.figure import Figure

    scales, missed, alarms, naive = zip(*rates(results), strict=True)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        scales,
        [100 * value for value in naive],
        "--",
        color="#D55E00",
        marker="s",
        markersize=4,
        label="false alarms, tolerance alone",
    )
    axes.plot(
        scales,
        [100 * value for value in alarms],
        color="#D55E00",
        marker="o",
        markersize=4,
        label="false alarms, tolerance and chance",
    )
    axes.plot(
        scales, [100 * value for value in missed], color="#0072B2", marker="^", markersize=4, label="missed faults"
    )
    axes.axvline(1.0, color="0.6", linewidth=1)
    axes.annotate("default", (1.0, 97), textcoords="offset points", xytext=(4, 0), color="0.4")
    axes.set(xscale="log", xlabel="every tolerance's logarithm times", ylabel="%", ylim=(-3, 103))
    axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2, 4], ["0.05", "0.1", "0.2", "0.5", "1", "2", "4"])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
