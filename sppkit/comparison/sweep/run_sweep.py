"""Measuring the cells of a grid that are not there yet, as many at a time as workers and memory allow."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, wait
from typing import TYPE_CHECKING

from sppkit.comparison.sweep.measure_cell import Outcome, measure_cell
from sppkit.machine.error_text import short_reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sppkit.comparison.sweep.grid import Cell, Grid
    from sppkit.comparison.sweep.store import Store

    # Called with what is being done, how much of it is done, and how much there is.
    Progress = Callable[[str, int, int], None]

_DIED = "the process that measured it died, perhaps for lack of memory."


class Sweep:
    """One pass over a grid.

    Attributes:
        failed: The cells that failed, and why in one line.
    """

    def __init__(
        self,
        grid: Grid,
        store: Store,
        open_executor: Callable[[], Executor],
        *,
        workers: int,
        threads: int = 1,
        memory: int | None,
        progress: Progress | None = None,
    ) -> None:
        self._grid, self._store, self._open = grid, store, open_executor
        self._workers, self._threads, self._memory, self._progress = workers, threads, memory, progress
        self._peak: int | None = None
        self._all = self._done = 0
        self.failed: dict[str, str] = {}

    def run(self) -> None:
        """Measure what is missing; an exception leaves what is finished, and nothing half-written."""
        missing = deque(cell for cell in self._grid.cells if not self._store.has(cell))
        self._all = len(missing)
        self._count(0)
        suspects = self._pass(missing, self._workers)
        # Of cells that were measured together when a process died, one alone may be to blame.
        for cell in suspects:
            if self._pass(deque([cell]), 1):
                self._fail(cell, _DIED)

    def _pass(self, missing: deque[Cell], most: int) -> list[Cell]:
        """Measure cells; return those that were under way when a process died."""
        suspects: list[Cell] = []
        while missing:
            suspects += self._until_broken(missing, most)
        return suspects

    def _until_broken(self, missing: deque[Cell], most: int) -> list[Cell]:
        executor = self._open()
        running: dict[Future[Outcome], Cell] = {}
        try:
            while missing or running:
                try:
                    while missing and self._has_room(len(running), most):
                        running[executor.submit(measure_cell, missing[0].resolved, self._threads)] = missing[0]
                        missing.popleft()
                except BrokenExecutor:
                    pass  # those under way say so, too
                broken = self._collect(running)
                if broken:
                    return broken
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            executor.shutdown(wait=not missing and not running, cancel_futures=False)
        return []

    def _has_room(self, running: int, most: int) -> bool:
        if running == 0:
            return True
        if running >= most:
            return False
        if self._memory is None:
            return True
        # Until one cell has shown what it takes, nobody knows how many fit together.
        return self._peak is not None and (running + 1) * self._peak <= self._memory

    def _collect(self, running: dict[Future[Outcome], Cell]) -> list[Cell]:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        broken: list[Cell] = []
        for future in done:
            cell = running.pop(future)
            try:
                self._keep(cell, future.result())
            except BrokenExecutor:
                broken.append(cell)
            except Exception as error:  # noqa: BLE001 - an engine's own: its worker was lost, its time was up
                self._fail(cell, f"{type(error).__name__}: {short_reason(error)}")
        if broken:
            broken += running.values()
        return broken

    def _keep(self, cell: Cell, outcome: Outcome) -> None:
        self._peak = max(self._peak or 0, outcome.peak_bytes)
        if outcome.table is None:
            self._fail(cell, outcome.failure)
            return
        self._store.write(cell, outcome.table, outcome.record)
        self._count(1)

    def _fail(self, cell: Cell, why: str) -> None:
        self.failed[cell.label] = why
        self._count(1)

    def _count(self, more: int) -> None:
        self._done += more
        if self._progress is not None:
            self._progress("measuring", self._done, self._all)
