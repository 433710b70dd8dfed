"""What all families share: finding them, making and judging their cases, and counting."""

import contextlib
import importlib
import pkgutil
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from physics_sim.errors import SimulationError
from tests.fuzz import families
from vdt_mlx.errors import VDTError

LIMIT_SECONDS = 4.0
"""Of processor time a case may take, ffmpeg's included."""
HANGS_AFTER = 30
"""Of a clock, if it has had the processor for its `LIMIT_SECONDS`; else it gets so long again, `PATIENCE` times."""
PATIENCE = 4
LIMIT_BYTES = 1 << 30
"""By which a family's cases may make the process grow."""
LONGEST_MESSAGE = 2000
REFUSALS = (VDTError, SimulationError)


class Hang(BaseException):
    """A case that does not come back."""


class Watch:
    """Notices, through Python's audit events, when anything is executed, loaded or reached that should not be."""

    FORBIDDEN = frozenset(
        [
            *("exec", "ctypes.dlopen", "marshal.loads", "pickle.find_class", "pty.spawn", "os.exec"),
            *("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "socket.connect"),
            *("subprocess.Popen", "webbrowser.open"),
        ]
    )

    LOADING = frozenset({"exec", "marshal.loads"})

    def __init__(self) -> None:
        self.active = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.active and event in self.FORBIDDEN and not (event in self.LOADING and _importing()):
            self.seen.append(event)


def _importing() -> bool:
    """Whether an installed module is being imported, late: that loads and runs its code."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@dataclass
class Family:
    """A module of `families`."""

    module: ModuleType

    @property
    def name(self) -> str:
        return self.module.__name__.rpartition(".")[2]

    @property
    def title(self) -> str:
        return getattr(self.module, "TITLE", self.name)

    @property
    def share(self) -> float:
        return getattr(self.module, "SHARE", 1.0)

    def rng(self, index: int, seed: int) -> random.Random:
        return random.Random(zlib.crc32(f"{self.name} {seed} {index}".encode()))


@dataclass
class Tally:
    """What became of a family's cases."""

    verdicts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    longest: float = 0.0
    grown: int = 0
    """Bytes by which the process grew."""


def all_families() -> list[Family]:
    """Every module of `families`, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(families.__path__))
    return [Family(importlib.import_module(f"{families.__name__}.{name}")) for name in names]


_watch: list[Watch] = []


def run(family: Family, cases: int, seed: int = 0, start: int = 0) -> Tally:
    """Judges cases `start` to `start + cases` of a family."""
    if not _watch:
        _watch.append(Watch())  # a hook stays for the life of the process
    tally = Tally()
    before = _peak()
    with tempfile.TemporaryDirectory(prefix="vdt-fuzz-") as name, _quiet():
        folder = Path(name)
        for index in range(start, start + cases):
            verdict, message, seconds = judge(family, index, seed, folder, _watch[0], warm=index > start + 3)
            tally.verdicts[verdict.partition(":")[0]] += 1
            tally.longest = max(tally.longest, seconds)
            if verdict.startswith("FAULT"):
                tally.faults.append(f"{family.name} case {index}, seed {seed}: {verdict}; {message[:300]}")
    tally.grown = _peak() - before
    if tally.grown > LIMIT_BYTES:
        tally.faults.append(f"{family.name}: the process grew by {tally.grown >> 20} MiB")
    return tally


def judge(
    family: Family, index: int, seed: int, folder: Path, watch: Watch, *, warm: bool = True
) -> tuple[str, str, float]:
    """Makes and tries one case; returns `refused`, `read` or a fault, the message, and the seconds it took.

    Args:
        warm: whether everything that is imported on the way has been; else imports are no fault.
    """
    case = folder / "case"
    case.mkdir()
    call: Callable[[], Any] = family.module.case(family.rng(index, seed), case)
    made = {path.relative_to(case) for path in case.rglob("*")}
    verdict, message, result = "read", "", None
    watch.seen.clear()
    began = _processor_time()
    try:
        with _no_hang():
            watch.active = warm
            result = call()
    except REFUSALS as error:
        verdict, message = "refused", str(error)
    except Hang:
        verdict = f"FAULT: did not come back within {HANGS_AFTER} s"
    except Exception as error:
        verdict, message = "FAULT: not a clear sentence", f"{type(error).__name__}: {error}"
    finally:
        watch.active = False
    seconds = _processor_time() - began
    allowed = getattr(family.module, "ALLOWED", frozenset())
    longest = getattr(family.module, "LONGEST_MESSAGE", LONGEST_MESSAGE)
    ran = sorted(set(watch.seen) - set(allowed))
    left = sorted(str(path.relative_to(case)) for path in case.rglob("*") if path.relative_to(case) not in made)
    if ran:
        verdict = f"FAULT: ran {ran}"
    elif verdict == "refused" and ("\n" in message or not message.isprintable() or len(message) > longest):
        verdict = "FAULT: not one sentence"
    elif left:
        verdict = f"FAULT: left {left[:3]} behind"
    elif seconds > LIMIT_SECONDS:
        verdict = f"FAULT: took {seconds:.1f} s"
    elif verdict == "read" and (wrong := getattr(family.module, "check", lambda result: None)(result)):
        verdict, message = "FAULT: read something else", str(wrong)
    shutil.rmtree(case)
    return verdict, message, seconds


def table(tallies: dict[str, Tally]) -> str:
    """How many cases of each family were refused and read, and how long the longest took."""
    lines = [f"{'family':<44}{'cases':>8}{'refused':>9}{'read':>8}{'faults':>8}{'longest':>10}"]
    for name, tally in tallies.items():
        counts = tally.verdicts
        numbers = f"{sum(counts.values()):>8}{counts['refused']:>9}{counts['read']:>8}{len(tally.faults):>8}"
        lines.append(f"{name:<44}{numbers}{tally.longest:>8.2f} s")
    total = sum((tally.verdicts for tally in tallies.values()), Counter[str]())
    faults = sum(len(tally.faults) for tally in tallies.values())
    longest = max((tally.longest for tally in tallies.values()), default=0.0)
    numbers = f"{sum(total.values()):>8}{total['refused']:>9}{total['read']:>8}{faults:>8}"
    return "\n".join([*lines, f"{'all':<44}{numbers}{longest:>8.2f} s"])


def _processor_time() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def _no_hang() -> Iterator[None]:
    began, rounds = _processor_time(), 0

    def late(number: int, frame: object) -> None:
        nonlocal rounds
        rounds += 1
        if rounds < PATIENCE and _processor_time() - began < LIMIT_SECONDS:
            signal.alarm(HANGS_AFTER)  # on a busy machine it may not have had its turn
            return
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(HANGS_AFTER)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Notes and warnings of thousands of cases are not shown."""
    import logging

    logger = logging.getLogger("vdt_mlx")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
