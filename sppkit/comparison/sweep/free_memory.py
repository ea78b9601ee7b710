"""How much memory the processes of a sweep may take together."""

from __future__ import annotations

from pathlib import Path

import psutil

_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def free_bytes() -> int:
    """Return the memory that is free, under the limit of a container if there is one."""
    free = int(psutil.virtual_memory().available)
    limit = _LIMIT.read_text(encoding="ascii").strip() if _LIMIT.is_file() else "max"
    if limit.isdigit() and _USED.is_file():
        free = min(free, int(limit) - int(_USED.read_text(encoding="ascii")))
    return free
