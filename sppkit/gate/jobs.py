"""The runs that a check is made of: one from flags, or several from a TOML file or ``[tool.sppkit]`` in pyproject.toml.

Options at the top of the file are shared; each ``[[run]]`` adds its own, and flags win over both. Beside the options
of a run the file may say ``policy`` (a preset, a file, or a table of limits) and ``baseline`` (true, false, or a path).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sppkit.config.options import RunConfig, parse_values
from sppkit.config.resolve import Resolved, resolve_config
from sppkit.errors import UsageError
from sppkit.gate.baseline import FOLDER, baseline_path
from sppkit.gate.configured_at import configured_at
from sppkit.machine.toml import read_toml
from sppkit.measuring.titles import file_stem

# One seed says little of chance; four are the contract's default for a check.
SEEDS = 4
# Looked for, in this order, where no network is named.
FILES = ("sppkit.toml", "pyproject.toml")
_HINT = "Give --config a TOML file of options, with one [[run]] for each network."
# Pairs that say one thing in two ways: the later source's replaces the earlier's.
_RIVALS = (frozenset({"depth", "stages"}), frozenset({"shape", "image_size"}), frozenset({"arch", "model"}))


@dataclass(frozen=True)
class Job:
    """One run to measure and judge.

    Attributes:
        resolved: The run's configuration.
        key: What its files and its baseline are called.
        policy: What ``load_policy`` reads; None for the architecture's preset.
        baseline: The baseline's file; None where none is asked for.
        configured: File and line that ask for it; None where flags do.
    """

    resolved: Resolved
    key: str
    policy: object
    baseline: Path | None
    configured: tuple[str, int] | None = None


def load_jobs(
    flags: Mapping[str, object], file: Path | None, *, policy: object = None, baseline: str | None = None
) -> list[Job]:
    """Return the runs that flags and a file ask for."""
    found = file if file is not None or {"arch", "model"} & flags.keys() else _find()
    tables = [{}] if found is None else list(_split(_load(found), found))
    jobs = [_build_job(flags, table, found, policy, baseline) for table in tables]
    if found is not None:
        jobs = [replace(job, configured=configured_at(found, index)) for index, job in enumerate(jobs)]
    keys = [job.key for job in jobs]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise UsageError(f"{found}: two runs are called {twice[0]!r}. Give one of them a name of its own.")
    return jobs


def baseline_of(key: str, asked: object) -> Path | None:
    """Return which baseline a run is held against."""
    if asked is False or asked == "none":
        return None
    if asked is None and not FOLDER.is_dir():
        return None
    if asked is None or asked is True:
        return baseline_path(key)
    path = Path(str(asked))
    return path if path.suffix == ".json" and not path.is_dir() else baseline_path(key, path)


def _find() -> Path | None:
    for name in FILES:
        path = Path(name)
        if path.is_file() and _load(path):
            return path
    return None


def _load(file: Path) -> dict[str, Any]:
    loaded = read_toml(file, "configuration", _HINT)
    if file.name != "pyproject.toml":
        return loaded
    tools = _table(loaded.get("tool", {}), f"{file}: tool")
    return dict(_table(tools.get("sppkit", {}), f"{file}: tool.sppkit"))


def _split(loaded: Mapping[str, Any], file: Path) -> list[dict[str, Any]]:
    shared = _named({key: value for key, value in loaded.items() if key != "run"}, file)
    runs = loaded.get("run", [{}])
    if not isinstance(runs, list) or not runs:
        raise UsageError(f"{file}: run must be tables, as in [[run]], not {runs!r:.60}.")
    return [_over(shared, _named(_table(run, f"{file}: run"), file)) for run in runs]


def _build_job(
    flags: Mapping[str, object], table: Mapping[str, Any], file: Path | None, policy: object, baseline: str | None
) -> Job:
    options = {name: value for name, value in table.items() if name not in {"policy", "baseline"}}
    try:
        parse_values(RunConfig, options)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    resolved = resolve_config(_over({"seeds": SEEDS, **options}, flags))
    sources = resolved.sources | dict.fromkeys(options, str(file)) | dict.fromkeys(flags, "flag")
    known = {name: source for name, source in sources.items() if name in resolved.sources}
    if "seeds" not in {*options, *flags}:
        known["seeds"] = "default"
    resolved = replace(resolved, sources=known)
    key = file_stem(resolved)
    asked = table.get("baseline") if baseline is None else baseline
    chosen = _policy(table.get("policy"), file) if policy is None else policy
    return Job(resolved, key, chosen, baseline_of(key, asked))


def _policy(given: object, file: Path | None) -> object:
    # A path is meant as seen from the file that it stands in.
    if isinstance(given, str) and given.endswith(".toml") and file is not None:
        return str(file.parent / given)
    return given


def _over(base: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    replaced = {name for rivals in _RIVALS if rivals & later.keys() for name in rivals}
    return {name: value for name, value in base.items() if name not in replaced} | dict(later)


def _named(table: Mapping[str, Any], file: Path) -> dict[str, Any]:
    renamed = {key.replace("-", "_"): value for key, value in table.items()}
    if len(renamed) < len(table):
        raise UsageError(f"{file} gives an option twice, with a dash and with an underscore. Keep one of the two.")
    return renamed


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a table, not {value!r:.60}.")
    return value
