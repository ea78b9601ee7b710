"""From results to the table and the picture of docs/performance.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

START, END = "<!-- results -->\n", "<!-- end of results -->"
# Okabe & Ito: told apart by the colour-blind, and by their lightness in print.
COLOURS = {"sppkit": "#0072B2", "naive": "#D55E00", "timm": "#009E73"}
MARKERS = {"sppkit": "o", "naive": "s", "timm": "^"}


def render_page(page: str, results: dict[str, Any]) -> str:
    head, rest = page.split(START)
    tail = rest.split(END)[1]
    parts = [_environment(results), _overhead(results["overhead"])]
    if results.get("cuda"):
        parts += [f"On a GPU ({results['environment']['cuda']}), TF32 off:\n", _overhead(results["cuda"])]
    parts += [_command(results), _memory(results)]
    return head + START + "\n" + "\n".join(parts) + "\n" + END + tail


def _environment(results: dict[str, Any]) -> str:
    found = results["environment"]
    return (
        f"Measured on {found['date']}: {found['processor']}, {found['threads']} threads, torch {found['torch']}, "
        f"Python {found['python']}, {found['system']}.\n"
    )


def _overhead(cases: list[dict[str, Any]]) -> str:
    names = list(cases[0]["ratio"])
    lines = [
        f"| network | input | bare forward | {' | '.join(names)} |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for case in cases:
        network = f"{case['arch']}-{case['depth']}, width {case['width']:g}"
        cells = [_ratio(case["ratio"][name]) for name in names]
        pixels = f"{case['batch']}×3×{case['pixels']}×{case['pixels']}"
        on_gpu = "dtype" in case
        pixels, digits = (f"{pixels}, {case['dtype']}", 4) if on_gpu else (pixels, 2)
        lines.append(f"| {network} | {pixels} | {case['bare_seconds']:.{digits}f} s | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\nRatios to the bare forward pass of the same round: median (lowest to highest).\n"


def _ratio(found: dict[str, float]) -> str:
    return f"**{found['median']:.2f}** ({found['min']:.2f}–{found['max']:.2f})"


def _command(results: dict[str, Any]) -> str:
    found = results["command"]
    lines = ["| part of the main command | seconds |", "|---|---|"]
    lines += [f"| {name} | {seconds:.2f} |" for name, seconds in found["seconds"].items()]
    lines += ["", "| phase of the main command | seconds |", "|---|---|"]
    lines += [f"| {name} | {seconds:.2f} |" for name, seconds in found["phases"].items()]
    return "\n".join(lines) + (
        f"\n\nThe command takes **{found['command_ratio']:.2f}** times (import torch + draw weights + bare forward "
        f"pass); building takes {found['build_ratio']:.2f} times the draws alone; `sppkit --help` "
        f"{found['help_seconds']:.2f} s.\n"
    )


def _memory(results: dict[str, Any]) -> str:
    lines = ["| depth | width | pixels | weights held | peak memory | seconds |", "|---|---|---|---|---|---|"]
    for row in results["memory"]:
        held = "one block's" if row["streaming"] == "on" else "all"
        lines.append(
            f"| {row['depth']} | {row['width']:g} | {row['pixels']} | {held} | {row['peak_mib']:.0f} MiB "
            f"| {row['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw overhead against depth, width and batch size, and memory against depth."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    panels = figure.subplots(1, 4)
    base = [case for case in results["overhead"] if case["pixels"] == 64 and case["arch"] == "nf-resnet"]
    for axes, key, label in zip(panels, ("depth", "width", "batch"), ("depth", "width", "batch size"), strict=False):
        _draw_overhead(axes, [case for case in base if _only_differs(case, key)], key, label)
    panels[0].set_ylabel("time / bare forward pass")
    panels[0].legend(frameon=False)
    _draw_memory(panels[3], [row for row in results["memory"] if row["pixels"] == 64 and row["width"] == 1])
    figure.savefig(path, dpi=150, metadata={"Software": None})


def _only_differs(case: dict[str, Any], key: str) -> bool:
    standard = {"depth": 200, "width": 1.0, "batch": 8}
    return all(case[name] == value for name, value in standard.items() if name != key)


def _draw_overhead(axes: Any, cases: list[dict[str, Any]], key: str, label: str) -> None:
    cases = sorted(cases, key=lambda case: case[key])
    for name in cases[0]["ratio"]:
        ratios = [case["ratio"][name]["median"] for case in cases]
        axes.plot([case[key] for case in cases], ratios, color=COLOURS[name], marker=MARKERS[name], label=name)
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xticks([case[key] for case in cases], [f"{case[key]:g}" for case in cases])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_ylim(0.9, None)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_memory(axes: Any, rows: list[dict[str, Any]]) -> None:
    for streaming, label, style in (("off", "all weights held", "--"), ("on", "one block's weights", "-")):
        chosen = [row for row in rows if row["streaming"] == streaming]
        peaks = [row["peak_mib"] / 1024 for row in chosen]
        axes.plot([row["depth"] for row in chosen], peaks, style, color="#0072B2", marker="o", label=label)
    axes.set_xlabel("depth")
    axes.set_ylabel("peak memory, GiB")
    axes.set_ylim(0, None)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
