"""The training loop: steps, the log, states for an exact resume, previews, and a clean end whatever ends it."""

import contextlib
import errno
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx

from vdt_mlx.errors import VDTError
from vdt_mlx.training import state as saving
from vdt_mlx.training.config import LoopConfig, TrainConfig, config_from_dict, differences
from vdt_mlx.training.optimizer import Flat, scalar

CHECKPOINT = "checkpoint"
PREVIEWS = "previews"

FREE_TO_CHANGE = ("steps", "save_minutes", "preview_minutes", "preview_clips", "keep", "workers", "lanes")
"""Settings that a resumed run may change: they decide how long and how often, not what is computed in a step."""


class Task(Protocol):
    """What the loop trains: see `training.autoencoder` and `training.vdt`."""

    kind: str
    loop: LoopConfig
    config: TrainConfig

    def fill(self, step: int, progress: Callable[[int], None]) -> None: ...
    def train_step(self, step: int) -> dict[str, float]: ...
    def groups(self) -> dict[str, Flat]: ...
    def restore(self, groups: dict[str, Flat]) -> None: ...
    def save(self, folder: Path, facts: dict, dtype: str = "fp32") -> None: ...
    def preview(self, folder: Path, step: int) -> dict[str, float]: ...
    def agree(self, stop: bool) -> bool: ...
    def close(self) -> None: ...


def prepare(out: Path, kind: str, config: TrainConfig, resume: bool, started_from: dict[str, Any]) -> None:
    """Claims the run's folder, or checks that it holds the run to resume.

    Raises VDTError: the folder is taken, is no run's, or is the run of another configuration (says which keys differ).
    """
    new: dict[str, Any] = {"kind": kind, "config": config.to_dict(), "from": started_from}
    if resume:
        old = saving.read_run(out)
        if old.get("kind") != kind:
            raise VDTError(f"{out} holds the training of a {old.get('kind')}, not of a {kind}.")
        # Read as a configuration first: a run from before an option existed had that option's default.
        own = config_from_dict(old["config"], str(out / saving.RUN)).to_dict()
        changed = [
            line for line in differences(own, new["config"]) if line.split(":")[0].split(".")[-1] not in FREE_TO_CHANGE
        ]
        if changed:
            raise VDTError(
                f"{out} was trained with other settings, so it cannot be resumed with these: {'; '.join(changed)}."
            )
        new["from"] = old.get("from", {})
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        hint = "--resume goes on with it" if (out / saving.RUN).is_file() else "choose another"
        raise VDTError(f"{out} exists and is not empty ({hint}).")
    out.mkdir(parents=True, exist_ok=True)
    saving.remove_leftovers(out)
    saving.write_run(out, new)


def run(
    task: Task,
    out: Path,
    *,
    resume: bool = False,
    hours: float | None = None,
    main: bool = True,
    facts: dict[str, Any] | None = None,
    label: str = "",
) -> dict[str, Any]:
    """Trains until `loop.steps`, or for `hours`, or until Ctrl-C; saves at the end in any of these cases.

    Args:
        main: whether this process is the one that writes (rank 0).
        facts: goes into the checkpoint's `training` section.
        label: of the progress line, where the run is a part of something.

    Returns:
        The last step, the seconds of this call, and the last preview's scores.

    Raises:
        VDTError: the loss is not a number, or the disk is full; the last good state is intact.
    """
    step = 0
    spent = 0.0
    if resume and saving.find_states(out):
        step, groups = saving.load_state(out)
        spent = scalar(groups.pop("clock")["seconds"])
        task.restore(groups)
    log = saving.Log(out, step) if main else None
    began = last_save = last_preview = time.monotonic()
    deadline = began + hours * 3600 if hours is not None else math.inf
    scores: dict[str, float] = {}
    saved = step if resume else -1
    loop = task.loop

    def save() -> None:
        nonlocal saved, last_save
        if log is not None and saved != step:
            log.flush()
            seconds = spent + time.monotonic() - began
            with _disk_full_is_an_error(out):
                saving.save_state(out, step, {**task.groups(), "clock": {"seconds": mx.array(seconds)}}, loop.keep)
                task.save(out / CHECKPOINT, {**(facts or {}), "steps": step, "hours": round(seconds / 3600, 3)})
        saved = step
        last_save = time.monotonic()

    try:
        with _counter("clips made ready", main) as count:
            task.fill(step, count)
        with _interruptible() as interrupted, _bar(loop.steps, step, main, label) as bar:
            while step < loop.steps:
                started = time.monotonic()
                metrics = task.train_step(step)
                if not math.isfinite(metrics["loss"]):
                    kept = f"the state of step {saved} is kept" if saved > 0 else "nothing had been saved yet"
                    raise VDTError(
                        f"The loss of step {step + 1} is {metrics['loss']}: training stopped, {kept} in {out}."
                    )
                step += 1
                now = time.monotonic()
                if log is not None:
                    with _disk_full_is_an_error(out):
                        log.write({"step": step, **metrics, "seconds": round(now - started, 4)})
                bar(step, metrics, loop.batch / max(now - started, 1e-9))
                if task.agree(interrupted.is_set() or now > deadline):
                    break
                if main and loop.preview_minutes and now - last_preview > loop.preview_minutes * 60:
                    scores = _preview(task, out, step, log)
                    last_preview = time.monotonic()
                if now - last_save > loop.save_minutes * 60:
                    save()
            save()
            if main and loop.preview_minutes and not interrupted.is_set():
                scores = _preview(task, out, step, log)
        if interrupted.is_set():
            raise KeyboardInterrupt
    finally:
        task.close()
        if log is not None:
            with contextlib.suppress(OSError):
                log.close()
    return {"step": step, "seconds": round(time.monotonic() - began, 1), "scores": scores}


def _preview(task: Task, out: Path, step: int, log: saving.Log | None) -> dict[str, float]:
    with _disk_full_is_an_error(out):
        scores = task.preview(out / PREVIEWS, step)
        if log is not None:
            log.write({"step": step, "preview": scores})
            log.flush()
    return scores


@contextlib.contextmanager
def _disk_full_is_an_error(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise VDTError(f"No space is left for {out}: training stopped, the last saved state is intact.") from None
    except RuntimeError as error:  # MLX reports a failed write as a RuntimeError without errno
        if "write" not in str(error).lower():
            raise
        raise VDTError(
            f"{out} cannot be written ({error}): training stopped, the last saved state is intact."
        ) from None


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that the loop ends after its step; a second Ctrl-C ends at once."""
    event = threading.Event()

    def handler(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    old = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def _counter(what: str, main: bool) -> Iterator[Callable[[int], None]]:
    """A count of what is done, on a terminal, while there is no step yet to show."""
    if not main or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} " + what), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        counter = progress.add_task("", total=None)
        yield lambda done: progress.update(counter, completed=done)


@contextlib.contextmanager
def _bar(total: int, step: int, main: bool, label: str = "") -> Iterator[Any]:
    """A progress bar on a terminal; elsewhere one line a minute."""
    if not main:
        yield lambda *_: None
        return
    if not sys.stderr.isatty():
        last = [0.0]

        def line(step: int, metrics: dict[str, float], rate: float) -> None:
            if time.monotonic() - last[0] > 60:
                last[0] = time.monotonic()
                stage = {"stage": label} if label else {}
                entry = {**stage, "step": step, **metrics, "per_second": round(rate, 2)}
                print(json.dumps(entry), file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=total, completed=step)

        def show(step: int, metrics: dict[str, float], rate: float) -> None:
            memory = mx.get_peak_memory() / 2**30
            text = f"{label + '  ' if label else ''}loss {metrics['loss']:.4f}  {rate:.1f}/s  {memory:.1f} GB"
            progress.update(bar, completed=step, description=text)

        yield show
