"""Writing files so that an interrupt leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place on success and vanishes on failure.

    Args:
        path: The file to create or replace; its folder is created where it is missing.

    Yields:
        The path to write to, in the same folder (a rename is atomic only within one file system).

    Raises:
        UsageError: If the folder can't be made or written to.
    """
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:
        raise UsageError(_cannot_write(path.parent, error)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _rename(temporary, path)
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
    except OSError as error:
        raise UsageError(_cannot_write(folder, error)) from error


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}. Choose another name with --name or --out.") from error


def _cannot_write(folder: Path, error: OSError) -> str:
    return f"can't write into the folder {folder}: {error.strerror}. Choose another one with --out DIR."


def _umask() -> int:
    # mkstemp makes private files; a report should have the permissions any other new file gets.
    current = os.umask(0)
    os.umask(current)
    return current
