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
from vdt_mlx.training.config import LoopConfig, TrainConfig, changed, config_from_dict, differences
from vdt_mlx.training.memory_watch import MemoryWatch
from vdt_mlx.training.optimizer import Flat, scalar
from vdt_mlx.training.tensorboard import Board

CHECKPOINT = "checkpoint"
PREVIEWS = "previews"

_LOOPS, _OPTIMIZERS = ("loop", "autoencoder_loop"), ("optimizer", "autoencoder_optimizer")
_FREE = ("steps", "save_minutes", "preview_minutes", "preview_clips", "keep", "lanes")
FREE_TO_CHANGE = frozenset(
    {f"{loop}.{key}" for loop in _LOOPS for key in _FREE} | {"data.workers", "data.path", "data.cache"}
)
"""Settings that a resumed run may change: how long, how often, where; not what is computed in a step."""
RATES = frozenset(f"{part}.{key}" for part in _OPTIMIZERS for key in ("lr", "muon_lr"))
"""Settings that a resumed run may lower; `run.json` keeps a record."""
SMOOTHING = 50
"""Steps over which the loss is averaged to tell whether a run has diverged."""


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


def prepare(
    out: Path,
    kind: str,
    config: TrainConfig,
    resume: bool,
    started_from: dict[str, Any],
    data: dict[str, Any] | None = None,
) -> None:
    """Claims the run's folder, which this process owns (`state.owned`), or checks that it holds the run to resume.

    Args:
        data: what the clips are (`data.Source.identity`).

    Raises:
        VDTError: the folder is taken, is no run's, or is the run of another configuration or other data (says which
            keys differ, by their whole path).
    """
    new: dict[str, Any] = {"kind": kind, "config": config.to_dict(), "from": started_from, "data": data}
    if resume:
        old = saving.read_run(out)
        if old.get("kind") != kind:
            raise VDTError(f"{out} holds the training of a {old.get('kind')}, not of a {kind}.")
        # Read as a configuration first: a run from before an option existed had that option's default.
        own = config_from_dict(old["config"], str(out / saving.RUN)).to_dict()
        differing = [(key, a, b) for key, a, b in changed(own, new["config"]) if key not in FREE_TO_CHANGE]
        lowered = [(key, a, b) for key, a, b in differing if key in RATES and b < a]
        refused = [f"{key}: {a!r} -> {b!r}" for key, a, b in differing if (key, a, b) not in lowered]
        if refused:
            raise VDTError(
                f"{out} was trained with other settings, so it cannot be resumed with these: {'; '.join(refused)}."
            )
        if data is not None and old.get("data") not in (None, data):
            told = "; ".join(differences(old["data"], data))
            raise VDTError(f"The clips that {out} was trained on are not what they were ({told}).")
        step = saving.step_of(states[0]) if (states := saving.find_states(out)) else 0
        record = [{"after": step, "key": key, "from": a, "to": b} for key, a, b in lowered]
        new |= {"from": old.get("from", {}), "lowered": [*old.get("lowered", []), *record]}
    elif saving.taken(out):
        hint = "--resume goes on with it" if (out / saving.RUN).is_file() else "choose another"
        raise VDTError(f"{out} exists and is not empty ({hint}).")
    saving.remove_leftovers(out)
    saving.write_run(out, new)


class _Progress:
    """Where a run stands, and what of it is saved."""

    def __init__(self, task: Task, out: Path, main: bool, facts: dict[str, Any] | None):
        self.task, self.out, self.main, self.facts = task, out, main, facts or {}
        self.step, self.saved, self.spent = 0, -1, 0.0
        self.began = self.last_save = self.last_preview = time.monotonic()
        self.smoothed: float | None = None
        self.lowest = math.inf
        self.scores: dict[str, float] = {}
        self.log: saving.Log | None = None
        self.board: Board | None = None
        self.watch, self.memory = MemoryWatch(), dict[str, float]()

    def resume(self, at: int | None) -> None:
        """Goes on from the newest saved state, or from that of step `at`; later ones are given up.

        A checkpoint that is not of this state, as after a kill between the two, is written now.
        """
        self.step, groups = saving.load_state(self.out, at)
        self.spent = scalar(groups.pop("clock")["seconds"])
        self.task.restore(groups)
        self.saved = self.step
        state = next(state for state in saving.find_states(self.out) if saving.step_of(state) == self.step)
        loss = saving.manifest_of(state).get("loss") or {}
        self.smoothed, self.lowest = loss.get("smoothed"), loss.get("lowest") or math.inf
        if self.main:
            saving.drop_states_after(self.out, self.step)
            if not saving.checkpoint_is_of(self.out / CHECKPOINT, self.step):
                self._save_checkpoint()

    def seconds(self) -> float:
        """Of training, earlier calls included."""
        return self.spent + time.monotonic() - self.began

    def save(self) -> None:
        """The state, then the checkpoint that is made from it."""
        if self.log is not None and self.saved != self.step:
            self.log.flush()
            groups = {**self.task.groups(), "clock": {"seconds": mx.array(self.seconds())}}
            loss = {} if self.smoothed is None else {"smoothed": self.smoothed, "lowest": self.lowest}
            with _disk_full_is_an_error(self.out):
                saving.save_state(self.out, self.step, groups, self.task.loop.keep, loss)
            self._save_checkpoint()
        self.saved = self.step
        self.last_save = time.monotonic()

    def _save_checkpoint(self) -> None:
        told = {**self.facts, "steps": self.step, "hours": round(self.seconds() / 3600, 3)}
        with _disk_full_is_an_error(self.out):
            self.task.save(self.out / CHECKPOINT, told)

    def advance(self, metrics: dict[str, float], seconds: float) -> None:
        """Counts a step that was taken, unless one of its numbers is none; raises VDTError then."""
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise VDTError(self._diverged(name, value))
        self.step += 1
        loss = metrics["loss"]
        self.smoothed = loss if self.smoothed is None else self.smoothed + (loss - self.smoothed) / SMOOTHING
        if self.step >= SMOOTHING:
            self.lowest = min(self.lowest, self.smoothed)
        self._record({"step": self.step, **metrics, "seconds": round(seconds, 4)})
        self._look_at_memory()

    def _record(self, entry: dict[str, Any]) -> None:
        """A line of the log, and the same for TensorBoard where that is wanted."""
        if self.log is not None:
            with _disk_full_is_an_error(self.out):
                self.log.write(entry)
                if self.board is not None:
                    self.board.write(entry)

    def _look_at_memory(self) -> None:
        seen = self.watch.look()
        if seen is not None:
            self.memory = seen
            self._record({"step": self.step, "memory": seen})
            if self.main and (said := self.watch.warning(seen)):
                print(said, file=sys.stderr, flush=True)

    def _diverged(self, name: str, value: float) -> str:
        said = f"The {name.replace('grad_', 'gradient ')} of step {self.step + 1} is {value}: training stopped,"
        sound = [state for state in saving.find_states(self.out) if not saving.diverged(state)]
        if not sound:
            return f"{said} nothing had been saved yet in {self.out}; try a lower optimizer.lr and optimizer.muon_lr."
        step = saving.step_of(sound[0])
        return (
            f"{said} the state of step {step} is kept in {self.out}. To go back to it with a lower rate: --resume "
            f"--from-step {step} --set optimizer.lr=... --set optimizer.muon_lr=..."
        )

    def preview(self) -> None:
        with _disk_full_is_an_error(self.out):
            self.scores = self.task.preview(self.out / PREVIEWS, self.step)
            self._record({"step": self.step, "preview": self.scores})
            if self.log is not None:
                self.log.flush()
        self.last_preview = time.monotonic()

    def close(self) -> None:
        self.task.close()
        for record in (self.log, self.board):
            if record is not None:
                with contextlib.suppress(OSError):
                    record.close()


def run(
    task: Task,
    out: Path,
    *,
    resume: bool = False,
    at: int | None = None,
    hours: float | None = None,
    main: bool = True,
    facts: dict[str, Any] | None = None,
    label: str = "",
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Trains until `loop.steps`, or for `hours`, or until Ctrl-C, SIGTERM or SIGHUP; saves at the end in any of these.

    Args:
        at: of a resumed run, the step of the state to go back to; by default the newest.
        main: whether this process is the one that writes (rank 0).
        facts: goes into the checkpoint's `training` section.
        label: of the progress line, where the run is a part of something.
        tensorboard: write the log as event files too.

    Returns:
        The last step, the seconds of this call, and the last preview's scores.

    Raises:
        VDTError: the loss or another number of a step is not finite, or the disk is full; the last state is intact.
            Any other error in a step is passed on when what was trained before it is saved.
    """
    progress = _Progress(task, out, main, facts)
    received: list[int] = []
    try:
        if resume and saving.find_states(out):
            progress.resume(at)
        progress.log = saving.Log(out, progress.step) if main else None
        progress.board = Board(out, progress.step) if main and tensorboard else None
        with _counter("clips made ready", main) as count:
            task.fill(progress.step, count)
        with _interruptible() as received, _bar(task.loop.steps, progress.step, main, label) as bar:
            _take_steps(progress, bar, received, math.inf if hours is None else progress.began + hours * 3600)
            progress.save()
            if main and task.loop.preview_minutes and not received:
                progress.preview()
    finally:
        progress.close()
    if received:
        signal.raise_signal(received[0])  # whoever called us decides what it means
        raise KeyboardInterrupt
    return {"step": progress.step, "seconds": round(time.monotonic() - progress.began, 1), "scores": progress.scores}


def _take_steps(progress: _Progress, bar: Any, received: list[int], deadline: float) -> None:
    task, loop = progress.task, progress.task.loop
    while progress.step < loop.steps:
        started = time.monotonic()
        try:
            metrics = task.train_step(progress.step)
        except Exception:
            with contextlib.suppress(Exception):
                progress.save()
            raise
        now = time.monotonic()
        progress.advance(metrics, now - started)
        bar(progress.step, {**metrics, **progress.memory}, loop.batch / max(now - started, 1e-9))
        if task.agree(bool(received) or now > deadline):
            return
        if progress.main and loop.preview_minutes and now - progress.last_preview > loop.preview_minutes * 60:
            progress.preview()
        if now - progress.last_save > loop.save_minutes * 60:
            progress.save()


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
def _interruptible() -> Iterator[list[int]]:
    """The signals to end that came (Ctrl-C, SIGTERM, a closed terminal), so that the loop ends after its step.

    A second one ends at once. A SIGHUP that is ignored (`nohup`) stays so.
    """
    received: list[int] = []

    def handler(number: int, frame: Any) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    old = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield received
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
                with contextlib.suppress(OSError):  # a terminal that was closed is no reason to stop
                    print(json.dumps(saving.plain(entry)), file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=total, completed=step)

        def show(step: int, metrics: dict[str, float], rate: float) -> None:
            memory = metrics.get("memory_gb", mx.get_peak_memory() / 2**30)
            text = f"{label + '  ' if label else ''}loss {metrics['loss']:.4f}  {rate:.1f}/s  {memory:.1f} GB"
            progress.update(bar, completed=step, description=text)

        yield show
