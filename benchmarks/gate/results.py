"""The results' file: a line per planted fault and per network held against theory, a few characters per comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_KEYS = ("network", "kind", "exit", "sure", "every")


def write(results: dict[str, Any], path: Path) -> None:
    """Write results; numbers have three digits."""
    networks = list(dict.fromkeys(row["network"] for row in results["harmless"]))
    kinds = list(dict.fromkeys(row["kind"] for row in results["harmless"]))
    packed = [
        [
            networks.index(row["network"]),
            kinds.index(row["kind"]),
            row["exit"],
            *(_short(row.get(key)) for key in _KEYS[3:]),
        ]
        for row in results["harmless"]
    ]
    lines = [json.dumps(packed[start : start + 12])[1:-1] for start in range(0, len(packed), 12)]
    faults = [json.dumps({key: _short(value) for key, value in row.items()}) for row in results["faults"]]
    agreement = [json.dumps({key: _short(value) for key, value in row.items()}) for row in results["agreement"]]
    head = {name: json.dumps(value) for name, value in (("environment", results["environment"]), ("networks", networks),
                                                        ("kinds", kinds))}  # fmt: skip
    parts = [f' "{name}": {text}' for name, text in head.items()]
    parts += [
        f' "{name}": [\n  ' + ",\n  ".join(rows) + "\n ]"
        for name, rows in (("faults", faults), ("harmless", lines), ("agreement", agreement))
    ]
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Read results back as they were measured, but for their digits."""
    found = json.loads(path.read_text(encoding="utf-8"))
    found["harmless"] = [
        dict(zip(_KEYS, (found["networks"][row[0]], found["kinds"][row[1]], *row[2:]), strict=True))
        for row in found["harmless"]
    ]
    return found


def _short(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value
