"""Putting a finished file into its place, whatever is there: nothing, a file, a link, a device, a pipe."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

IGNORE = ".gitignore"
_PREFIX = ".spp-"
# Names of what the program has open already, as a shell's >(...) and /dev/stdout are. Opening one anew would begin at
# its own offset, and a socket can't be opened at all.
_DESCRIPTOR = re.compile(r"/dev/(std(?:in|out|err))|/(?:dev|proc/(?:self|thread-self|(\d+)))/fd/(\d+)")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
# As many links in a row as Linux follows.
_MOST_LINKS = 40


@contextmanager
def staged(folder: Path | None) -> Iterator[Path]:
    """Yield a temporary folder that git does not see, so that not even a kill leaves anything for it to pick up."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX) as name:
        if folder is not None:
            _hide(Path(name))
        yield Path(name)


def put(finished: Path, path: Path) -> None:
    """Put a finished file into its place; a regular file or nothing is replaced in one step.

    Permissions and, where the system allows it, the owner of a file that was there are kept; a link stays one.
    """
    place = behind_links(path)
    if is_stream(path):
        _pour(finished, path)
    elif place.parent.resolve() == finished.parent.parent.resolve():
        _keep_permissions(finished, place)
        finished.replace(place)
    else:  # behind a link, perhaps on another file system
        with staged(place.parent) as staging:
            copy = staging / place.name
            shutil.copyfile(finished, copy)
            _keep_permissions(copy, place)
            copy.replace(place)


def is_stream(path: Path) -> bool:
    """Return whether a path is there and is no place for a file: a device, a pipe, a socket, an open descriptor."""
    if descriptor_of(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def descriptor_of(path: Path) -> int | None:
    """Return the number of the open descriptor that a path stands for.

    >>> descriptor_of(Path("/dev/stdout")), descriptor_of(Path("/proc/self/fd/63")), descriptor_of(Path("/dev/null"))
    (1, 63, None)
    """
    for link in _iter_links(path):
        matched = _DESCRIPTOR.fullmatch(str(link))
        if matched and matched[2] in {None, str(os.getpid())}:  # another process's are files to this one
            return _STANDARD[matched[1]] if matched[1] else int(matched[3])
    return None


def behind_links(path: Path) -> Path:
    """Return the place that a path stands for once links are followed, whether there is a file or not."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path  # unlike resolve(), it takes links in a circle


def _iter_links(path: Path) -> Iterator[Path]:
    place = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow what is to be looked at
    for _ in range(_MOST_LINKS):
        yield place
        if not place.is_symlink():
            return
        place = Path(os.path.abspath(place.parent / place.readlink()))  # noqa: PTH100


def _pour(finished: Path, path: Path) -> None:
    number = descriptor_of(path)
    if number is not None:
        if sys.stdout is not None:
            sys.stdout.flush()  # what was printed before comes before
        target = os.dup(number)
    else:
        target = os.open(path, os.O_WRONLY)  # a pipe waits for its reader, as in a shell
    with finished.open("rb") as source, os.fdopen(target, "wb", buffering=0) as stream:
        remaining = memoryview(source.read())
        while remaining:
            remaining = remaining[stream.write(remaining) :]


def _keep_permissions(finished: Path, place: Path) -> None:
    try:
        there = place.stat()
    except FileNotFoundError:
        finished.chmod(0o666 & ~_umask())  # what any new file gets
        return
    with suppress(OSError, AttributeError):  # only root gives files away; Windows knows no owners
        os.chown(finished, there.st_uid, there.st_gid)
    finished.chmod(stat.S_IMODE(there.st_mode))


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _hide(folder: Path) -> None:
    # Whole or not at all: an empty one, half-way, would hide nothing, itself least of all.
    path = folder / IGNORE
    try:
        unnamed = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except (AttributeError, OSError):  # not Linux, or a file system that has no unnamed files
        path.write_text("*\n", encoding="utf-8")
        return
    try:
        os.write(unnamed, b"*\n")
        # Any src_dir_fd makes Python follow the link.
        os.link(f"/proc/self/fd/{unnamed}", path, src_dir_fd=unnamed, follow_symlinks=True)
    except OSError:
        path.write_text("*\n", encoding="utf-8")
    finally:
        os.close(unnamed)
