"""What long work tells while it goes on: a bar on a terminal, a line now and then where there is none."""

import sys
import threading
import time
from types import TracebackType
from typing import Any

from vdt_mlx.errors import harmless

INTERVAL = 30.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """What work reports to; this one keeps it to itself."""

    def tell(self, step: str) -> None:
        """What is being done now."""

    def advance(self, count: int = 1) -> None:
        """`count` more of the whole are done."""


class Bar(Progress):
    """Progress through `total` pieces of work on standard error: a bar on a terminal, else a line every 30 seconds.

    A context manager. `unit` names the pieces ("clips"); with no `total` only what was done is told.
    """

    def __init__(self, total: int | None, unit: str = "", step: str = "", *, interval: float = INTERVAL) -> None:
        self.total, self.unit, self.step, self.done = total, unit, step, 0
        self.began = time.monotonic()
        self._interval = interval
        self._bar: Any = None
        self._task: Any = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Bar":
        self.began = time.monotonic()
        if sys.stderr.isatty():
            self._open_bar()
        else:
            self._thread = threading.Thread(target=self._tell_now_and_then, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def tell(self, step: str) -> None:
        self.step = step
        if self._bar is not None:
            self._bar.update(self._task, description=printable(step))

    def advance(self, count: int = 1) -> None:
        self.done += count
        if self._bar is not None:
            self._bar.advance(self._task, count)

    def line(self) -> str:
        """Where the work stands, as one line."""
        seconds = time.monotonic() - self.began
        count = f"{self.done} of {self.total}" if self.total is not None else f"{self.done}"
        parts = [f"{count} {self.unit}".strip(), printable(self.step), spoken(seconds)]
        if self.total is not None and 0 < self.done < self.total:
            parts.append(f"about {spoken(seconds / self.done * (self.total - self.done))} left")
        return ", ".join(part for part in parts if part)

    def _tell_now_and_then(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                print(self.line(), file=sys.stderr, flush=True)
            except (OSError, ValueError):  # nobody listens any more: that is no reason to stop the work
                return

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(self.unit, markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(printable(self.step), total=self.total)
        self._bar.start()


def spoken(seconds: float) -> str:
    """A duration as one says it: 40 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def printable(text: str) -> str:
    """One line without control characters, which would act on the terminal: names of files come from anywhere."""
    return harmless(" ".join(text.split("\n")))
