"""Reading regular files only, and writing all of them or none."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sppkit.errors import UsageError
from sppkit.machine.files import all_or_nothing, make_folder, prepared, read_text, replacing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


UNREADABLE = {
    "missing": (lambda path: None, "there is no such file"),
    "folder": (Path.mkdir, "it is a folder"),
    "pipe": (make_pipe, "it is not a regular file"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe"), "it is not UTF-8 text"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08\x00"), "it is not UTF-8 text"),
}


@pytest.mark.parametrize(("make", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_not_a_readable_file_is_refused(make: object, reason: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    pattern = f"^can't read the run {re.escape(str(tmp_path / 'x'))}: {reason}\\. Try y\\.$"
    with pytest.raises(UsageError, match=pattern):
        read_text(tmp_path / "x", "run", "Try y.")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "x").touch()
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UsageError, match=r"Permission denied\. Try y"):
        read_text(tmp_path / "x", "run", "Try y.")


def test_names_that_no_system_takes_are_refused() -> None:
    with pytest.raises(UsageError, match="File name too long"):
        read_text("x" * 300, "run", "")
    with pytest.raises(UsageError, match="can't write into the folder"):
        make_folder(Path("a\0b"))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa")
    assert read_text(str(tmp_path / "x"), "run", "") == "a"


def fail(kind: BaseException) -> None:
    raise kind


def fail_behind(path: Path, kind: BaseException) -> None:
    path.write_text("new")
    raise kind


def write_one_and_fail(staging: Path, kind: BaseException) -> None:
    with replacing(staging / "x.csv") as temporary:
        temporary.write_text("new")
    with replacing(staging / "x.json") as temporary:
        fail_behind(temporary, kind)


FAILURES = {
    "full disk": (OSError(errno.ENOSPC, "No space left on device"), UsageError),
    "interrupt": (KeyboardInterrupt(), KeyboardInterrupt),
    "request to end": (SystemExit(143), SystemExit),
    "defect": (ZeroDivisionError(), ZeroDivisionError),
}


@pytest.mark.parametrize(("raised", "seen"), FAILURES.values(), ids=FAILURES)
def test_replacing_keeps_the_old_file(raised: BaseException, seen: type, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("old")
    with pytest.raises(seen), replacing(tmp_path / "x.csv") as temporary:
        fail_behind(temporary, raised)
    assert names(tmp_path) == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "old"


@pytest.mark.parametrize(("raised", "seen"), FAILURES.values(), ids=FAILURES)
def test_files_are_replaced_together_or_not_at_all(raised: BaseException, seen: type, tmp_path: Path) -> None:
    for name in ("x.csv", "x.json"):
        (tmp_path / name).write_text("old")
    with pytest.raises(seen), all_or_nothing(tmp_path) as staging:
        write_one_and_fail(staging, raised)
    assert names(tmp_path) == ["x.csv", "x.json"]
    assert {(tmp_path / name).read_text() for name in names(tmp_path)} == {"old"}
    with all_or_nothing(tmp_path) as staging:
        for name in ("x.csv", "x.json"):
            (staging / name).write_text("new")
    assert names(tmp_path) == ["x.csv", "x.json"]
    assert {(tmp_path / name).read_text() for name in names(tmp_path)} == {"new"}


def test_a_full_disk_names_the_file_in_its_final_place(tmp_path: Path) -> None:
    pattern = f"^can't write {re.escape(str(tmp_path / 'x.csv'))}: No space left on device\\. Choose another place"
    with (
        pytest.raises(UsageError, match=pattern),
        all_or_nothing(tmp_path) as staging,
        replacing(staging / "x.csv"),
    ):
        fail(OSError(errno.ENOSPC, "No space left on device"))


def test_prepared_takes_its_folders_back_on_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), prepared(tmp_path / "a/b", ["x"]):
        fail(ZeroDivisionError())
    assert names(tmp_path) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(ZeroDivisionError), prepared(tmp_path / "a/b", ["x"]):
        fail_behind(tmp_path / "a/b/kept", ZeroDivisionError())
    assert names(tmp_path / "a/b") == ["kept"]


def test_prepared_refuses_targets_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with (
        pytest.raises(UsageError, match=r"x\.png: a folder of that name is in its place"),
        prepared(tmp_path, ["x.png"]),
    ):
        pytest.fail("the work began")
    with pytest.raises(UsageError, match="File name too long"), prepared(tmp_path, ["x" * 300]):
        pytest.fail("the work began")


def test_a_name_as_long_as_the_system_takes_can_be_written(tmp_path: Path) -> None:
    with prepared(tmp_path, ["x" * 251 + ".csv"]), replacing(tmp_path / ("x" * 251 + ".csv")) as temporary:
        temporary.touch()
    assert names(tmp_path) == ["x" * 251 + ".csv"]


def test_written_files_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    with replacing(tmp_path / "x"):
        pass
    (tmp_path / "y").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_text("old")
    for link, target in {"absolute": tmp_path / "real/x", "relative": "real/x", "dangling": "real/new"}.items():
        (tmp_path / link).symlink_to(target)
        write(tmp_path / link, link)
        assert (tmp_path / link).is_symlink()
        assert (tmp_path / link).read_text() == link
    assert names(tmp_path / "real") == ["new", "x"]
    assert (tmp_path / "real/x").read_text() == "relative"


def test_files_written_together_follow_links_too(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x.csv").symlink_to(tmp_path / "elsewhere.csv")
    with all_or_nothing(tmp_path / "out") as staging:
        for name in ("x.csv", "x.json"):
            (staging / name).write_text(name)
    assert names(tmp_path / "out") == ["x.csv", "x.json"]
    assert (tmp_path / "elsewhere.csv").read_text() == "x.csv"


def test_links_in_a_circle_are_said(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UsageError, match="Too many levels of symbolic links"):
        write(tmp_path / "a", "new")
    assert names(tmp_path) == ["a", "b"]


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe, "x" * 200_000)  # more than a pipe holds
    reader.join()
    assert read == ["x" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    write(Path("/dev/null"), "x")
    with pytest.raises(UsageError, match=r"^can't write /dev/full: No space left on device\. Choose another place"):
        write(Path("/dev/full"), "x")
    (tmp_path / "link").symlink_to("/dev/full")
    with pytest.raises(UsageError, match="No space left on device"):
        write(tmp_path / "link", "x")
    assert all(stat.S_ISCHR(Path(device).stat().st_mode) for device in ("/dev/null", "/dev/full"))


def test_an_open_descriptor_is_written_to_where_it_stands(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from sppkit.machine.files import replacing\nprint('before')\n"
    code += "with replacing(Path(sys.argv[1])) as path: path.write_text('report\\n')\nprint('after')"
    (tmp_path / "mine").symlink_to("/dev/stdout")
    for place in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", tmp_path / "mine"):
        with (tmp_path / "out").open("w") as out:  # a regular file behind a descriptor is not replaced
            subprocess.run([sys.executable, "-c", code, place], stdout=out, check=True)
        assert (tmp_path / "out").read_text() == "before\nreport\nafter\n"
    script = f'{sys.executable} -c "$0" >(cat > got) > /dev/null; wait $!'
    subprocess.run(["bash", "-c", script, code], cwd=tmp_path, check=True)
    assert (tmp_path / "got").read_text() == "report\n"


def test_permissions_and_owner_of_a_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    before = path.stat()
    write(path, "new")
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert path.read_text() == "new"


def test_not_even_a_kill_leaves_anything_that_git_sees(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "x").write_text("old")
    subprocess.run(["git", "add", "x"], cwd=tmp_path, check=True)
    # It says when it begins, and writes for ever.
    code = "from pathlib import Path; from sppkit.machine.files import replacing\nprint('on', flush=True)\n"
    code += "while True:\n with replacing(Path('x')) as path: path.write_text('old')"
    for wait in range(12):
        with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.001 * wait)
            process.kill()
        status = ["git", "status", "--porcelain", "--untracked-files=all"]
        assert subprocess.run(status, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "A  x\n"
