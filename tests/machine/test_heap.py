"""The command keeps the memory that its activations give away; a program that imports sppkit is left alone."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys

import pytest

import sppkit
from sppkit.machine.allocator import no_collection, only_new_garbage

# Touches 64 MiB, frees it and touches it again: prints the page faults of the second time.
FAULTS = """
import os, resource
import numpy as np
{before}
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(2**26, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touch()
print(touch(), os.environ.get("THP_MEM_ALLOC_ENABLE"))
"""
KEEP = "from sppkit.machine.allocator import keep_freed_memory; keep_freed_memory()"


def run(before: str, **environment: str) -> list[str]:
    code = FAULTS.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": "", **environment}
    )
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_the_command_takes_memory_once_and_a_program_of_the_users_is_left_alone() -> None:
    # 64 MiB are at least 32 pages, however large these are.
    assert int(run(KEEP)[0]) < 32
    assert int(run("import sppkit; sppkit.build_model")[0]) >= 32


def test_what_the_user_has_set_stays() -> None:
    assert run(KEEP)[1] == "1"
    assert run(KEEP, THP_MEM_ALLOC_ENABLE="0")[1] == "0"
    assert run("import sppkit; sppkit.build_model")[1] == "None"


def test_another_c_library_is_no_error() -> None:
    without = "import ctypes; ctypes.CDLL = lambda name: object()\n" + KEEP
    assert run(without)[1] == "1"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_streaming_gives_large_blocks_back_where_the_command_kept_them() -> None:
    # Touched again, 64 MiB fault again.
    give = "from sppkit.machine.allocator import give_blocks_back; give_blocks_back(small=False)"
    assert int(run(f"{KEEP}\n{give}")[0]) >= 32
    assert int(run(KEEP)[0]) < 32


def test_garbage_is_still_collected_only_less_often() -> None:
    code = (
        "import gc\n"
        "from sppkit.machine.allocator import collect_rarely\n"
        "collect_rarely()\n"
        "class Ring: pass\n"
        "def ring():\n"
        "    a = Ring(); a.self = a\n"
        "before = gc.get_stats()[0]['collections']\n"
        "for _ in range(20_000): ring()\n"
        "rare = gc.get_stats()[0]['collections'] - before\n"
        "for _ in range(200_000): ring()\n"
        "print(rare, gc.get_stats()[0]['collected'] > 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]


def test_building_leaves_the_garbage_collector_as_it_was() -> None:
    def fail() -> None:
        with no_collection():
            assert not gc.isenabled()
            raise KeyError

    sppkit.build_model("nf-resnet", stages=(1,), width=0.125)
    assert gc.isenabled()
    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()
    gc.disable()
    try:
        sppkit.build_model("nf-resnet", stages=(1,), width=0.125)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_there_is_set_aside_and_comes_back() -> None:
    frozen = gc.get_freeze_count()
    with only_new_garbage():
        assert gc.get_freeze_count() > frozen
    assert gc.get_freeze_count() == frozen == 0

    def fail() -> None:
        with only_new_garbage():
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.get_freeze_count() == 0


def test_what_the_program_has_set_aside_stays_so() -> None:
    gc.freeze()
    try:
        with only_new_garbage():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
