"""What lets a training survive a night: a process that starts it again, and a Mac that stays awake."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ASKED = frozenset({0, 2, *(128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))})
"""Exit statuses after which a run is not started again: done, bad input, ended by somebody."""


def supervised(command: Callable[[], list[str]], restarts: int, *, pause: float = 5.0) -> int:
    """Runs a command, and starts it again when it dies of something else than its user; returns its last status.

    Args:
        command: what to run, asked anew each time: a run that has saved something is resumed.
        restarts: the most times.
        pause: seconds before a restart, for the device to recover.
    """
    for number in range(restarts + 1):
        status = _run(command())
        if status in ASKED or number == restarts:
            return status
        print(
            f"The training died ({_cause(status)}); it is started again from its last save "
            f"({number + 1} of {restarts}).",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(pause)
    return status


def again(words: list[str], begun: bool, spent: float) -> list[str]:
    """The command line of one attempt: `words` without the supervision, and of a run that was begun, resumed.

    Args:
        words: the arguments of the command as they were given, options as `--name value` or `--name=value`.
        begun: whether the run's folder holds a run by now.
        spent: hours that went by, which a resumed run has less.
    """
    found: list[str] = []
    dropped = {"--restarts", *(("--init", "--autoencoder", "--resume", "--from-step") if begun else ())}
    position = 0
    while position < len(words):
        name, equals, value = words[position].partition("=")
        long = name in dropped or (begun and name == "--hours")
        width = 2 if long and not equals and name != "--resume" else 1
        if begun and name == "--hours":
            hours = float(value if equals else words[position + 1])
            found += ["--hours", f"{max(hours - spent, 0.0):.4f}"]
        elif name not in dropped:
            found.append(words[position])
        position += width
    return [*found, "--resume"] if begun else found


def _run(command: list[str]) -> int:
    """The command's exit status, as a shell has it; signals to end are handed on to it."""
    process = subprocess.Popen(command)
    numbers = (signal.SIGTERM, signal.SIGHUP)
    # Ctrl-C reaches the child by itself: it is in the same group of processes.
    old = {number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in numbers}
    old[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = process.wait()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _cause(status: int) -> str:
    return f"signal {signal.Signals(status - 128).name}" if status > 128 else f"exit status {status}"


@contextmanager
def awake(wanted: bool = True) -> Iterator[bool]:
    """Keeps a Mac from going to sleep while this process lives; yields whether it does. Nothing elsewhere."""
    if not wanted or sys.platform != "darwin" or shutil.which("caffeinate") is None:
        yield False
        return
    helper = subprocess.Popen(["caffeinate", "-i", "-m", "-w", str(os.getpid())])
    try:
        yield True
    finally:
        helper.terminate()
        helper.wait()
