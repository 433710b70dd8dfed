"""What a step works on, made ready while a GPU still computes the step before."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from vdt_mlx.device.kernels import on_cpu

T = TypeVar("T")


class Ahead(Generic[T]):
    """A function of the step's number, called one step early where that costs nothing.

    On a CPU the training itself takes all cores, so nothing is made early there. What computes with MLX stays in the
    thread that asks; the rest is made in one of its own.
    """

    def __init__(self, make: Callable[[int], T], *, in_thread: bool):
        self._make = make
        self._thread = ThreadPoolExecutor(1) if in_thread else None
        self._ready: tuple[int, T | Future[T]] | None = None

    def prepare(self, step: int) -> None:
        """Makes the step's material now, unless on a CPU. Call it after `mx.async_eval` of the step before."""
        if not on_cpu():
            self._ready = step, self._thread.submit(self._make, step) if self._thread else self._make(step)

    def close(self) -> None:
        """Waits for what is still being made, so that what it is made from can be closed."""
        if self._thread:
            self._thread.shutdown(cancel_futures=True)

    def take(self, step: int) -> T:
        """The step's material: what was prepared, if it was for this step, or made now."""
        ready, self._ready = self._ready, None
        if ready is None or ready[0] != step:
            return self._make(step)
        return ready[1].result() if isinstance(ready[1], Future) else ready[1]
