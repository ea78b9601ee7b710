"""Runs what a page tells a user to type, in processes that have already imported torch.

``python tests/desk.py SOCKET`` imports the libraries that take seconds, but nothing of sppkit, and forks a process of
its own for each command: ``sppkit`` with its arguments, or a program as ``python -W error -c`` runs it. A script named
``sppkit`` hands it the command, the folder, the environment and the three streams, and ends with its exit code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER = struct.Struct("!I")
_CLIENT = """#!{python} -SEI
import json, os, socket, struct, sys
desk = socket.socket(socket.AF_UNIX)
desk.connect({place!r})
order = json.dumps({{"argv": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ)}}).encode()
socket.send_fds(desk, [struct.pack("!I", len(order))], [0, 1, 2])
desk.sendall(order)
code = desk.recv(1)
sys.exit(code[0] if code else "the process died")
"""


@contextlib.contextmanager
def desk(folder: Path) -> Iterator[Path]:
    """Start a desk, and yield the folder of its ``sppkit``, which comes first in PATH."""
    place = folder / "desk"
    (folder / "bin").mkdir()
    client = folder / "bin/sppkit"
    client.write_text(_CLIENT.format(python=sys.executable, place=str(place)), encoding="utf-8")
    client.chmod(0o755)
    # One thread: a process that has several can't be forked.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, __file__, str(place)], env=environment) as server:
        try:
            while not place.exists() and server.poll() is None:
                time.sleep(0.02)
            yield client.parent
        finally:
            server.terminate()


def serve(place: str) -> None:
    for library in ("matplotlib.figure", "pandas", "rich.console", "torch", "typer.rich_utils"):
        importlib.import_module(library)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps them
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> None:
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        header, streams, *_ = socket.recv_fds(connection, _HEADER.size, 3)
        order = json.loads(_receive(connection, *_HEADER.unpack(header)))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["environment"])
        code = _run(order["argv"])
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        connection.send(bytes([code]))
        os._exit(code)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += connection.recv(size - len(received))
    return received


def _run(argv: list[str]) -> int:
    try:
        if argv[:1] == ["-c"]:
            warnings.simplefilter("error")
            main: Any = types.ModuleType("__main__")
            sys.modules["__main__"], sys.argv = main, ["-c", *argv[2:]]
            exec(compile(argv[1], "<page>", "exec"), main.__dict__)
        else:
            from sppkit.__main__ import main as sppkit

            sys.argv = ["sppkit", *argv]
            sppkit()
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
