"""What a run is called: in file names, titles and subtitles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.config import ModelOptions, RunConfig, options
from sppkit.models.spec import non_default

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sppkit.config import Resolved

_KINDS = {"gaussian": "Gaussian input", "pictures": "pictures", "array": "array"}


def file_stem(resolved: Resolved) -> str:
    """Return the name of a run's files without their ending.

    Args:
        resolved: The run's configuration.

    Returns:
        ``--name`` where it was given; else ``<arch>-<depth>`` and every model option that changes the network, so that
        one network does not overwrite another.
    """
    config = resolved.config
    if config.name is not None:
        return config.name
    parts = [config.arch, _size(resolved)]
    for name, value in non_default(config.arch, resolved.given()).items():
        key = name.replace("_", "-")
        parts.append(_joined(key, value))
    return "-".join(parts)


def title(record: Mapping[str, Any]) -> str:
    """Return a picture's title: the network and its size.

    Args:
        record: The run's record.

    Returns:
        One line.
    """
    network = record.get("network", {})
    layout = "-".join(map(str, network.get("stages", ())))
    given = {name: item["value"] for name, item in record.get("options", {}).items() if item["source"] != "default"}
    size = str(given["depth"]) if given.get("depth") else layout
    hidden = {"arch", "depth", "stages", *_NOT_MODEL}
    further = [_worded(name, value) for name, value in given.items() if name not in hidden]
    return ", ".join([f"{record.get('arch', 'network')}-{size}", *further])


def subtitle(record: Mapping[str, Any]) -> str:
    """Return what stands below a picture's title: input, mode and seeds.

    Args:
        record: The run's record.

    Returns:
        One line.
    """
    described = record.get("input", {})
    shape = "×".join(map(str, described.get("batch_shape", ())))
    batches = f", {described['batches']} batches" if described.get("batches", 1) > 1 else ""
    seeds = record.get("seeds", [])
    seeding = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    kind = _KINDS.get(str(described.get("kind")), "input")
    return (
        f"{kind} {shape}{batches} · {record.get('mode', 'train')} mode · {record.get('dtype', 'float32')} · {seeding}"
    )


# Options of the run that are not part of what the network is called.
_NOT_MODEL = frozenset(options(RunConfig)) - frozenset(options(ModelOptions))


def _size(resolved: Resolved) -> str:
    if resolved.config.stages is not None:
        return "stages" + "-".join(map(str, resolved.config.stages))
    return str(resolved.config.depth)


def _joined(key: str, value: object) -> str:
    if isinstance(value, bool):
        return key
    return f"{key}{value:g}" if isinstance(value, (int, float)) else f"{key}-{value}"


def _worded(name: str, value: object) -> str:
    key = name.replace("_", " ")
    if isinstance(value, bool):
        return key if value else f"no {key}"
    return f"{key} {value:g}" if isinstance(value, (int, float)) else f"{key} {value}"
