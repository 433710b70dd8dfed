"""Endless clips for training, simulated as they are asked for, in an order that the number of workers cannot change."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from physics_sim.clip import Clip
from physics_sim.errors import SimulationError
from physics_sim.rendering import check_size
from physics_sim.sampling import LARGEST, check, make_clip
from physics_sim.scenarios import register, registered
from physics_sim.worlds import WORLD_VERSION, World

MOST_WORKERS = 256
PAIRS = 2
"""Pairs of clips of each scenario in a piece of work."""


def stream(
    scenarios: Sequence[str] | str,
    split: str = "train",
    *,
    seed: int = 0,
    start: int = 0,
    size: int = 64,
    frames: int | None = None,
    given: int | None = None,
    world: World = WORLD_VERSION,
    workers: int = 0,
) -> Iterator[Clip]:
    """Yields clips from position `start` on: position p is clip p // S of scenario p % S, for S scenarios.

    A scenario that is named several times has that many clips in every S, all different. `workers` processes simulate
    and draw ahead (0: all in this process); they change neither the order nor a byte. The other arguments: `make_clip`.
    Raises SimulationError at once for arguments that do not fit, and later if a worker is killed.
    """
    names = (scenarios,) if isinstance(scenarios, str) else tuple(scenarios)
    if not names:
        raise SimulationError("A stream needs at least one scenario.")
    for name in names:
        check(name, split, seed, frames=frames, given=given, world=world)
    check_size(size)
    for what, value, most in (("start", start, LARGEST // 2), ("workers", workers, MOST_WORKERS)):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise SimulationError(f"{what} must be a whole number from 0 to {most}, not {value!r}.")
    options = {"seed": seed, "size": size, "frames": frames, "given": given, "world": world}
    return _run(names, split, options, start, workers)


def _run(names: tuple[str, ...], split: str, options: dict[str, Any], start: int, workers: int) -> Iterator[Clip]:
    if not workers:
        for position in count(start):
            yield _clip(names, split, options, position)
    piece = 2 * PAIRS * len(names)
    jobs = ((names, split, options, max(first, start), first + piece) for first in count(start - start % piece, piece))
    yield from in_order(piece_of_stream, jobs, workers)


def piece_of_stream(names: tuple[str, ...], split: str, options: dict[str, Any], start: int, end: int) -> list[Clip]:
    """The clips at positions start..end, drawn."""
    clips = []
    for position in range(start, end):
        clip = _clip(names, split, options, position)
        clip.frames  # noqa: B018 (drawn here, in the worker)
        clips.append(clip)
    return clips


def _clip(names: tuple[str, ...], split: str, options: dict[str, Any], position: int) -> Clip:
    """The clip at a position of the stream."""
    turn, place = divmod(position, len(names))
    name = names[place]
    number = turn * names.count(name) + names[:place].count(name)
    return make_clip(name, split, number, **options)


def in_order(work: Any, jobs: Iterator[tuple[Any, ...]], workers: int) -> Iterator[Any]:
    """Yields the items of each `work(*job)` in the order of the jobs, with a bounded number of jobs in flight."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Spawned, not forked: the caller may hold threads and locks (BLAS, Metal).
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker, initargs=(_told(),))
    waiting: deque[Any] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, *job))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise SimulationError(
            "A worker process died; what was complete is kept: run it again, with fewer workers if memory is short."
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _told() -> bytes:
    """What was registered in this process, for the workers."""
    import pickle

    more = registered()
    try:
        return pickle.dumps(more)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SimulationError(
            f"The functions of {', '.join(more)} cannot be sent to worker processes ({error}): "
            "define them in a file of their own, or make the clips in one process."
        ) from None


def _prepare_worker(told: bytes) -> None:
    """A worker knows its parent's scenarios, leaves Ctrl-C to it, and ends when it does, however that ends."""
    import os
    import pickle
    import signal
    import threading
    from multiprocessing import parent_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name, make in pickle.loads(told).items():
        register(name, make)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
