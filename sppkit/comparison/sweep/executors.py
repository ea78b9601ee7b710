"""Where cells are measured, behind the face of ``concurrent.futures.Executor``: processes here, Ray, Slurm."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENGINES = ("processes", "ray", "slurm")


def open_executor(engine: str, *, workers: int, threads: int, folder: Path) -> Executor:
    """Return an executor that measures so many cells at a time."""
    if engine == "processes":
        return _Processes(workers)
    if engine == "ray":
        return _Ray(workers, threads)
    if engine == "slurm":
        return _Slurm(workers, threads, folder)
    raise UsageError(f"--on must be one of {', '.join(ENGINES)}, not {engine!r:.60}.")


class _Processes(ProcessPoolExecutor):
    """Processes of this machine, which end with the one that started them, however it ends."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, multiprocessing.get_context("spawn"), _end_with_parent)

    def submit(self, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Submit a call; a process that this starts does not hear an interrupt."""
        with _without_interrupts():
            return super().submit(*arguments, **keywords)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes; at once where what they do is not wanted any more."""
        if cancel_futures:
            for process in list((self._processes or {}).values()):
                process.kill()
        super().shutdown(wait, cancel_futures=cancel_futures)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    # A mask is handed on to what is started, and what arrives meanwhile is delivered after it.
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Waiting(Executor):
    """An engine with calls of its own: a thread waits for each."""

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers)

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Submit a call to the engine."""
        return self._threads.submit(self._run, call, arguments, keywords)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give the engine back."""
        self._close()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)

    def _run(self, call: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class _Ray(_Waiting):
    """Ray: the cluster of RAY_ADDRESS, or a local one."""

    def __init__(self, workers: int, threads: int) -> None:
        self._ray = _load("ray", "ray")
        self._threads_each, self._started = threads, not self._ray.is_initialized()
        if self._started:
            local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers * threads, "include_dashboard": False}
            self._ray.init(log_to_driver=False, **local)
        super().__init__(workers)

    def _run(self, call: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        remote = self._ray.remote(num_cpus=self._threads_each, max_retries=0)(call)
        return self._ray.get(remote.remote(*arguments, **keywords))

    def _close(self) -> None:
        if self._started:
            self._ray.shutdown()


class _Slurm(_Waiting):
    """Slurm by way of submitit, which takes processes of this machine where there is no Slurm."""

    def __init__(self, workers: int, threads: int, folder: Path) -> None:
        self._engine = _load("submitit", "slurm").AutoExecutor(folder=folder / "slurm")
        self._engine.update_parameters(cpus_per_task=threads, name="sppkit", timeout_min=24 * 60)
        self._jobs: list[Any] = []
        super().__init__(workers)

    def _run(self, call: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        job = self._engine.submit(call, *arguments, **keywords)
        self._jobs.append(job)
        return job.result()

    def _close(self) -> None:
        for job in self._jobs:
            if not job.done():
                job.cancel()


def _load(library: str, extra: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError:
        raise UsageError(
            f"--on {extra} needs {library}, which is not installed here.\nInstall it: pip install 'sppkit[{extra}]'"
        ) from None
