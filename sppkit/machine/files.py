"""Files: reading a regular one, and writing so that an interrupt leaves the old files or the new ones, never half."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Temporaries are hidden, and their names no longer than the files' own need be.
_PREFIX = ".spp-"


def read_text(path: str | Path, what: str, hint: str) -> str:
    """Read a regular file of UTF-8 text, with or without a byte order mark.

    A pipe or a device could keep the program waiting for ever, so neither is opened.

    Args:
        path: The file.
        what: What it should be, for the message.
        hint: What to type instead, for the message.

    Returns:
        Its text.

    Raises:
        UsageError: If there is no such file, it is not a regular one, can't be read, or is not UTF-8.
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
    """Make sure that files can be written, before the work that fills them; a failure leaves no new folder behind.

    Args:
        folder: Where the files will go; created, with its parents, where it is missing.
        names: The files' names.

    Yields:
        Nothing.

    Raises:
        UsageError: If the folder can't be made or written to, or a name can't be used in it.
    """
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
    """Yield a temporary folder whose files replace those in ``folder`` together, once all of them are written.

    Args:
        folder: Where the files will go.

    Yields:
        The folder to write to, inside ``folder`` (a rename is atomic only within one file system).

    Raises:
        UsageError: If a file can't be written; the files that were there are untouched.
    """
    make_folder(folder)
    with _explained(folder), tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX) as name:
        staging = Path(name)
        try:
            yield staging
        except UsageError as error:
            # The user knows a file by the place it was meant for.
            raise UsageError(str(error).replace(str(staging), str(folder))) from error
        for file in sorted(staging.iterdir()):
            with _explained(folder / file.name):
                file.replace(folder / file.name)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place on success and vanishes on failure.

    Args:
        path: The file to create or replace; its folder is created where it is missing.

    Yields:
        The path to write to, in the same folder (a rename is atomic only within one file system).

    Raises:
        UsageError: If the folder can't be made, or the file can't be written.
    """
    make_folder(path.parent)
    with _explained(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PREFIX, suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create ``folder`` and check that files can be made in it.

    Args:
        folder: The folder; parents are created too.

    Raises:
        UsageError: If it can't be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise UsageError(
            f"can't write into the folder {folder}: {_reason(error)}. Choose another one with --out DIR."
        ) from error


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
        if path.is_dir() and not path.is_symlink():  # a link is replaced, whatever it points to
            raise IsADirectoryError(0, "a folder of that name is in its place")
        path.exists()  # the system says now if the name is too long


def _missing(folder: Path) -> list[Path]:
    with suppress(OSError, ValueError):  # make_folder says it better
        return [place for place in (folder, *folder.parents) if not place.exists()]
    return []


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"can't write {path}: {_reason(error)}. Choose another place with --out DIR, or another --name."
        ) from error


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _umask() -> int:
    # mkstemp makes private files; a report should have the permissions any other new file gets.
    current = os.umask(0)
    os.umask(current)
    return current
