"""Files: reading a regular one, and writing so that an interrupt leaves the old files or the new ones, never half."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sppkit.errors import UsageError
from sppkit.machine.replace import IGNORE, behind_links, is_stream, put, staged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HINT = "Choose another place with --out DIR, or another --name."


def read_text(path: str | Path, what: str, hint: str) -> str:
    """Read a regular file of UTF-8 text, with or without a byte order mark.

    A pipe or a device could keep the program waiting for ever, so neither is opened.
    """
    try:
        return _check_regular(Path(path)).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except (OSError, ValueError) as error:
        reason = _reason(error)
    raise UsageError(f"can't read the {what} {path}: {reason}. {hint}")


@contextmanager
def prepared(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Make sure that files can be written, before the work that fills them; a failure leaves no new folder behind."""
    made = _missing(folder)
    try:
        make_folder(folder)
        for name in names:
            _check_target(folder / name)
        yield
    except BaseException:
        for place in made:
            with suppress(OSError):  # a folder that isn't empty stays
                place.rmdir()
        raise


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files replace those in ``folder`` together, once all of them are written."""
    make_folder(folder)
    with _explained(folder), staged(folder) as staging:
        try:
            yield staging
        except UsageError as error:
            # The user knows a file by the place it was meant for.
            raise UsageError(str(error).replace(str(staging), str(folder))) from error
        written = [file for file in sorted(staging.iterdir()) if file.name != IGNORE]
        # What is copied can fail half-way, a rename hardly.
        for file in sorted(written, key=lambda file: not _is_elsewhere(folder / file.name)):
            with _explained(folder / file.name):
                put(file, folder / file.name)


@contextmanager
def replacing(path: Path, hint: str = _HINT) -> Iterator[Path]:
    """Yield a temporary path that takes the place of ``path`` on success and vanishes on failure.

    A link stays one, and what it points to is replaced. A device, a pipe or an open descriptor (``/dev/stdout``) is
    written to as it is.
    """
    place = None if is_stream(path) else behind_links(path)
    if place is not None:
        make_folder(place.parent, hint)
    with _explained(path, hint), staged(None if place is None else place.parent) as staging:
        temporary = staging / (path if place is None else place).name
        temporary.touch()
        yield temporary
        put(temporary, path)


def make_folder(folder: Path, hint: str = _HINT) -> None:
    """Create ``folder`` and check that files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise UsageError(f"can't write into the folder {folder}: {_reason(error)}. {hint}") from error


def _check_regular(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(0, "there is no such file")
    if path.is_dir():
        raise IsADirectoryError(0, "it is a folder")
    if not path.is_file():
        raise OSError(0, "it is not a regular file")
    return path


def _check_target(path: Path) -> None:
    with _explained(path):
        if path.is_dir():
            raise IsADirectoryError(0, "a folder of that name is in its place")
        path.exists()  # the system says now if the name is too long


def _is_elsewhere(path: Path) -> bool:
    return is_stream(path) or behind_links(path) != path


def _missing(folder: Path) -> list[Path]:
    with suppress(OSError, ValueError):  # make_folder says it better
        return [place for place in (folder, *folder.parents) if not place.exists()]
    return []


@contextmanager
def _explained(path: Path, hint: str = _HINT) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"can't write {path}: {_reason(error)}. {hint}") from error


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
