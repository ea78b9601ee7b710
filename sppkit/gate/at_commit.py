"""The same run at another commit, in a worktree of its own, so that both sides share machine, versions and seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError
from sppkit.gate.saved_run import SavedRun, load_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sppkit.config.resolve import Resolved

PREFIX = "git:"
# Where the files of a run go is the worktree's business.
_NOT_PASSED = frozenset({"out", "name", "format"})
_PATHS = ("input", "checkpoint")


def check_reference(against: str) -> str:
    """Return the commit that ``--against`` names."""
    reference = against.removeprefix(PREFIX)
    if not against.startswith(PREFIX) or not reference:
        raise UsageError(f"--against must be git: and a commit, as in git:origin/main, not {against!r:.60}.")
    _root()
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    if found.returncode:
        raise UsageError(f"--against: this repository has no commit {reference!r:.60}. {_how_to_fetch()}")
    return found.stdout.strip()


def is_dirty() -> bool:
    """Return whether files under version control differ from their last commit."""
    return bool(_git("status", "--porcelain", "--untracked-files=no").stdout.strip())


def current_commit() -> str:
    """Return the commit that is checked out."""
    try:
        found = _git("rev-parse", "--short=12", "HEAD")
    except UsageError:
        return ""
    return "" if found.returncode else found.stdout.strip()


def measure_at(commit: str, resolved: Resolved) -> SavedRun:
    """Measure a configuration as another commit has it.

    The same command runs in a temporary worktree, so that a model given as a path or a module is that commit's.
    """
    with _worktree(commit) as folder, tempfile.TemporaryDirectory(prefix="spp-against-") as out:
        place = folder / Path.cwd().relative_to(_root())
        # Flags, not a file: that commit's version need not know the same file format. Sources stay apart from values.
        options = Path(out) / "options.toml"
        options.write_text(_as_toml(_passed(resolved, folder)), encoding="utf-8")
        command = [sys.executable, "-m", "sppkit", "plot", "--config", str(options)]
        command += ["--out", out, "--name", "against", "--quiet"]
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(  # noqa: S603 - our own program, with arguments that are no shell's
            command, cwd=place, env=_environment(folder, place), capture_output=True, text=True, check=False
        )
        if done.returncode:
            told = (done.stderr or done.stdout).strip().removeprefix("error: ")
            raise UsageError(f"--against: the run fails at {commit[:12]}: {told}")
        measured = load_run(Path(out) / "against.csv")
        _check_sources(measured.record, commit)
        # It was asked the same, but for where its files are.
        record = {**measured.record, "options": resolved.described()}
        return SavedRun(f"git:{commit[:12]}", measured.table, record)


def _check_sources(record: Mapping[str, object], commit: str) -> None:
    # Its own files are named relative to the worktree: whatever lies in this checkout was imported past it.
    sources = record.get("sources")
    for place in sources.values() if isinstance(sources, dict) else ():
        if isinstance(place, list) and place and Path(str(place[0])).is_relative_to(_root()):
            raise UsageError(
                f"--against: at {commit[:12]} the network came from {place[0]}, which is this checkout's.\n"
                "It is installed from here under another folder than src/ or the repository's own: put that folder "
                "first in PYTHONPATH."
            )


def _passed(resolved: Resolved, folder: Path) -> dict[str, Any]:
    values = {name: entry["value"] for name, entry in resolved.described().items()}
    given: dict[str, Any] = {name: value for name, value in values.items() if resolved.sources[name] != "default"}
    given["seeds"] = resolved.config.seeds
    for name in _PATHS:
        # What is not under version control is where it is; the other commit has no copy.
        if isinstance(given.get(name), str) and Path(str(given[name])).exists():
            given[name] = str(Path(str(given[name])).resolve())
    if isinstance(given.get("model"), str):
        # Code is under version control: the other commit has its own.
        given["model"] = _moved(str(given["model"]), folder)
    if isinstance(given.get("sites"), str):
        given["sites"] = _corrections(str(given["sites"]), folder)
    if isinstance(given.get("kw"), dict):
        # As they are typed: TOML has no None.
        given["kw"] = [f"{key}={value!r}" for key, value in given["kw"].items()]
    return {name: value for name, value in given.items() if name not in _NOT_PASSED and value is not None}


def _moved(path: str, folder: Path) -> str:
    """Return a path inside this repository as the same place in the worktree; any other text as it is."""
    root = _root()
    inside = Path(path).is_absolute() and Path(path).resolve().is_relative_to(root)
    return str(folder / Path(path).resolve().relative_to(root)) if inside else path


def _corrections(path: str, folder: Path) -> str:
    # The other commit's where it has them; else these, which name the joins of both.
    its = Path(_moved(str(Path(path).resolve()), folder))
    here = Path(path).resolve()
    return next((str(file) for file in (its, here) if file.exists()), path)


def _as_toml(options: Mapping[str, object]) -> str:
    # JSON's texts, numbers, lists and truth values are TOML's, but for its halves of letters beyond 16 bits.
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in options.items())


def _environment(folder: Path, place: Path) -> dict[str, str]:
    # A package of the repository is that commit's: its folders come before whatever is installed.
    first = [str(path) for path in (folder / "src", folder, place) if path.is_dir()]
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    # So do the folders that this checkout was to be imported from; theirs stay for what is not under version control.
    first += [_moved(path, folder) for path in inherited]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*first, *inherited])}


@contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="spp-worktree-") as parent:
        folder = Path(parent).resolve() / "tree"
        made = _git("worktree", "add", "--detach", "--quiet", str(folder), commit)
        if made.returncode:
            raise UsageError(f"--against: git can't check out {commit[:12]}: {made.stderr.strip()}")
        try:
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _root() -> Path:
    found = _git("rev-parse", "--show-toplevel")
    if found.returncode:
        raise UsageError("--against compares two commits, and this folder is in no git repository.")
    return Path(found.stdout.strip()).resolve()


def _how_to_fetch() -> str:
    if _git("rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        return "This is a shallow clone: fetch more of it, with git fetch --unshallow, or fetch-depth: 0 in a workflow."
    return "To see what there is: git branch --all"


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = ["git", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    except FileNotFoundError:
        raise UsageError("--against needs git, and there is none here.") from None
