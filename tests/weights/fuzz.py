"""Thousands of damaged and hostile checkpoint files against the converter.

    python tests/weights/fuzz.py --count 13000 [--seed 0]

Every file must end in one clear sentence (VDTError) or in a load that is right; nothing in it may run, and none may
take more than 2 s or 500 MB. Prints how many of each kind there were.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hostile_files import GOOD, KINDS, LEGACY_DATA, SAFE_DATA, ZIP, case

from vdt_mlx.errors import VDTError
from weights.convert import convert
from weights.formats.source import open_source
from weights.names.vdt import KERNEL

LIMIT_SECONDS = 2.0
LIMIT_BYTES = 500 * 2**20


class Watch:
    """Notices, through Python's audit events, when anything is executed, loaded or reached that should not be."""

    FORBIDDEN = (
        *("compile", "exec", "import", "ctypes.dlopen", "marshal.loads", "pickle.find_class", "pty.spawn"),
        *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"),
        *("socket.connect", "subprocess.Popen", "webbrowser.open"),
    )

    def __init__(self) -> None:
        self.active = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.active and event in self.FORBIDDEN:
            self.seen.append(f"{event} {arguments[:1]}")


def expected_values(kind: str, data: bytes) -> dict[str, np.ndarray] | None:
    """What a load of this file must give: the original, or what its bytes say where there is no checksum."""
    values = {tensor.name: tensor.values for tensor in GOOD}
    start = {"legacy, bits flipped": LEGACY_DATA, "safetensors, bits flipped": SAFE_DATA}.get(kind)
    if start is not None:
        for tensor in GOOD:
            start += 8 if kind.startswith("legacy") else 0
            values[tensor.name] = np.frombuffer(data, "<f4", tensor.values.size, start).reshape(tensor.shape)
            start += tensor.values.nbytes
    return values


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def by_torch(path: Path) -> dict[str, np.ndarray] | None:
    """What PyTorch itself reads, if it is installed and takes the file."""
    try:
        import torch
    except ImportError:
        return None
    try:
        return {name: value.numpy() for name, value in torch.load(path, weights_only=True).items()}
    except Exception:
        return None


def judge(index: int, seed: int, folder: Path, watch: Watch) -> tuple[str, str, float, str]:
    """Converts a case; returns its kind, `refused`, `loaded` or a fault, the seconds, and the message."""
    kind, data = case(index, seed)
    source, dest = folder / "case.pt", folder / "out"
    source.write_bytes(data)
    started = time.process_time()
    watch.seen.clear()
    watch.active = True
    message, verdict = "", "loaded"
    try:
        convert(source, dest, num_heads=2, force=True)
    except VDTError as error:
        message, verdict = str(error), "refused"
    except Exception as error:
        message, verdict = f"{type(error).__name__}: {error}", "FAULT: not a clear sentence"
    finally:
        watch.active = False
    seconds = time.process_time() - started
    if watch.seen or (folder / "PWNED").exists() or Path("PWNED").exists():
        verdict = f"FAULT: ran {watch.seen}"
    elif seconds > LIMIT_SECONDS:
        verdict = f"FAULT: took {seconds:.1f} s"
    elif verdict == "refused" and (dest.exists() or len(list(folder.iterdir())) > 1):
        verdict = "FAULT: left something behind"
    elif verdict == "refused" and ("\n" in message or "\x1b" in message or len(message) > 4000):
        verdict = "FAULT: not one sentence"
    elif verdict == "loaded":
        wanted = expected_values(kind, data)
        with open_source(dest / "vdt.safetensors") as file:
            found = {name: np.array(tensor.array()) for name, tensor in file.tensors.items()}
        found[KERNEL] = found[KERNEL].transpose(0, 3, 1, 2)
        # An offset or stride that was changed and still fits is another valid tensor: only PyTorch can tell which.
        unknowable = kind == "tensors that cannot be" and not has_torch()
        if not _equal(found, wanted) and not unknowable and not _equal(found, by_torch(source)):
            verdict = "FAULT: loaded something else"
    if dest.exists():
        for path in dest.iterdir():
            path.unlink()
        dest.rmdir()
    return kind, verdict, seconds, message


def _equal(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray] | None) -> bool:
    return wanted is not None and all(
        name in wanted and found[name].tobytes() == np.ascontiguousarray(wanted[name]).tobytes() for name in found
    )


def warm_up(folder: Path) -> None:
    """Everything that the converter imports when it is first used."""
    (folder / "case.pt").write_bytes(ZIP)
    convert(folder / "case.pt", folder / "out", num_heads=2)
    convert(folder / "case.pt", folder / "out", num_heads=2, force=True)
    for path in (folder / "out").iterdir():
        path.unlink()
    (folder / "out").rmdir()
    with contextlib.suppress(VDTError):
        convert(folder, folder / "out")


def run(count: int, seed: int = 0, start: int = 0) -> tuple[Counter[tuple[str, str]], list[str], float]:
    """Judges cases `start` to `start + count`; returns counts by kind and verdict, the faults, the longest time."""
    counts: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    longest = 0.0
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="vdt-fuzz-") as name:
        folder = Path(name)
        warm_up(folder)
        for index in range(start, start + count):
            kind, verdict, seconds, message = judge(index, seed, folder, watch)
            counts[kind, verdict.split(":")[0]] += 1
            longest = max(longest, seconds)
            if verdict.startswith("FAULT"):
                faults.append(f"case {index}, {kind}: {verdict}; {message[:300]}")
    return counts, faults, longest


def main() -> int:
    from vdt_mlx.device.memory import peak_resident

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=13_050)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    before = peak_resident()
    counts, faults, longest = run(arguments.count, arguments.seed)
    peak = peak_resident()
    print(f"{'kind':<42}{'files':>7}{'refused':>9}{'loaded':>8}")
    for kind in KINDS:
        refused, loaded = counts[kind, "refused"], counts[kind, "loaded"]
        total = sum(count for (name, _), count in counts.items() if name == kind)
        print(f"{kind:<42}{total:>7}{refused:>9}{loaded:>8}")
    total = sum(counts.values())
    refused, loaded = (sum(n for (_, v), n in counts.items() if v == verdict) for verdict in ("refused", "loaded"))
    print(f"{'all':<42}{total:>7}{refused:>9}{loaded:>8}")
    resident = f"{peak / 2**20:,.0f} MB ({before / 2**20:,.0f} at the start)"
    print(f"longest {longest:.2f} s of processor time; largest resident size {resident}")
    for fault in faults:
        print(fault)
    if peak > LIMIT_BYTES:
        print("FAULT: more than 500 MB")
    return 1 if faults or peak > LIMIT_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
