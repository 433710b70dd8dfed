"""What is seen of a long training: its memory by the hour, and its log in TensorBoard's form."""

import struct
import sys

import mlx.core as mx
import pytest

from vdt_mlx.errors import VDTError
from vdt_mlx.training import loop, memory_watch
from vdt_mlx.training.config import LoopConfig
from vdt_mlx.training.memory_watch import GIB, MemoryWatch
from vdt_mlx.training.state import read_log
from vdt_mlx.training.tensorboard import FOLDER


class Counting:
    """A task without a network: its loss falls by a half in each step."""

    kind = "vdt"

    def __init__(self, steps: int):
        self.loop = LoopConfig(steps=steps, batch=1, preview_minutes=60, save_minutes=60)
        self.config = None

    def fill(self, step, progress) -> None: ...
    def close(self) -> None: ...
    def restore(self, groups) -> None: ...

    def train_step(self, step):
        return {"loss": 2.0**-step, "grad_norm": 1.0}

    def groups(self):
        return {"parameters": {"w": mx.zeros(1)}}

    def save(self, folder, facts, dtype="fp32") -> None:
        folder.mkdir(exist_ok=True)

    def preview(self, folder, step):
        return {"pair_error": 1.5}

    def agree(self, stop: bool) -> bool:
        return stop


def events(out) -> list[tuple[str, int, float]]:
    """(name, step, value) of everything in the event files, in their order."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((out / FOLDER).iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            at += 16 + length
    return found


def test_the_log_is_written_for_tensorboard_too(tmp_path) -> None:
    loop.run(Counting(3), tmp_path, tensorboard=True)
    written = [(entry["step"], entry["loss"]) for entry in read_log(tmp_path) if "loss" in entry]
    assert written == [(1, 1.0), (2, 0.5), (3, 0.25)]
    found = events(tmp_path)
    assert [(step, value) for name, step, value in found if name == "train/loss"] == written
    assert ("preview/pair_error", 3, 1.5) in found


def test_a_run_that_began_without_it_is_written_from_its_beginning(tmp_path) -> None:
    loop.run(Counting(2), tmp_path)
    assert not (tmp_path / FOLDER).exists()
    loop.run(Counting(4), tmp_path, resume=True, tensorboard=True)
    assert [step for name, step, _ in events(tmp_path) if name == "train/loss"] == [1, 2, 3, 4]


def test_tensorboard_without_its_package_is_one_sentence(monkeypatch, tmp_path) -> None:
    from vdt_mlx.training.start import train_vdt

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(VDTError, match=r"pip install 'vdt-mlx\[tensorboard\]'"):
        train_vdt(None, tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def watch(held: list[float], there: float = 16) -> tuple[MemoryWatch, list[float]]:
    now = [0.0]
    sizes = iter(held)
    return MemoryWatch(lambda: int(next(sizes) * GIB), int(there * GIB), lambda: now[0]), now


def test_memory_is_looked_at_once_a_minute_and_growth_is_told() -> None:
    watched, now = watch([2.0, 3.5, 14.0, 15.0])
    assert watched.look() is None  # not at once
    seen = []
    for hour in (1, 2, 5, 6):
        now[0] = hour * 3600.0
        seen.append(watched.look())
        assert watched.look() is None
    assert seen[1] == {"memory_gb": 3.5, "grown_gb": 1.5}
    assert watched.warning(seen[1]) is None
    assert watched.warning(seen[2]).startswith(
        "The training holds 14.0 GB of this machine's 16.0 GB, 12.0 GB more than 5"
    )
    assert watched.warning(seen[3]) is None  # said once


def test_a_run_logs_its_memory_and_says_when_the_machine_is_full(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(memory_watch, "EVERY", 0.0)
    monkeypatch.setattr(loop, "MemoryWatch", lambda: MemoryWatch(lambda: int(15 * GIB), int(16 * GIB)))
    loop.run(Counting(2), tmp_path)
    entries = [entry["memory"] for entry in read_log(tmp_path) if "memory" in entry]
    assert entries == [{"memory_gb": 15.0, "grown_gb": 0.0}] * 2
    assert capsys.readouterr().err.count("the system may end it") == 1
