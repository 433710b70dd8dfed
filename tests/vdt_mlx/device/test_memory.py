"""Sizes of memory, on Linux as they are and on a Mac as its interfaces are documented."""

import ctypes
import resource
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.device import memory

MIB = 2**20


class Library:
    """macOS's C library, as far as `proc_pid_rusage` goes: fills in the numbers 1000, 1001, ..."""

    def __init__(self, status: int = 0):
        self.status = status

    def proc_pid_rusage(self, pid, flavour, buffer) -> int:
        assert flavour == memory.RUSAGE_INFO_V4
        numbers = np.arange(1000, 1035, dtype=np.uint64).tobytes()
        ctypes.memmove(buffer, b"u" * 16 + numbers, memory._LENGTH)
        return self.status


@pytest.fixture
def on_a_mac(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(memory, "Path", lambda path: type("Nowhere", (), {"exists": lambda self: False})())


def test_the_footprint_counts_on_a_mac(on_a_mac, monkeypatch) -> None:
    monkeypatch.setattr(mx, "get_peak_memory", lambda: 0)
    usage = resource.struct_rusage([0.0, 0.0, 7] + [0] * 13)
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    assert memory.peak_resident() == 7  # bytes there
    assert memory.footprint_bytes() == 1007
    assert memory.peak_bytes() == 1028


@pytest.mark.parametrize("library", [Library(status=-1), object()])
def test_a_mac_that_tells_no_footprint(on_a_mac, monkeypatch, library) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert memory.footprint_bytes() is None
    assert memory.peak_bytes() > 0


def test_kib_elsewhere(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert memory.maxrss_unit() == 1024


def test_this_process() -> None:
    held = np.ones(200 * MIB, np.uint8)
    assert memory.peak_bytes() >= memory.peak_resident() >= held.nbytes
    now = memory.footprint_bytes()
    assert now is not None
    assert held.nbytes <= now <= memory.machine_bytes()


def test_a_command() -> None:
    assert 300 * MIB < memory.peak_of([sys.executable, "-c", "x = b'1' * (300 * 2**20)"]) < 400 * MIB
    assert memory.peak_of([sys.executable, "-c", "raise SystemExit(3)"]) is None


def test_the_loop_that_watches_a_command_on_a_mac(tmp_path) -> None:
    """The launcher's branch for macOS, with a library that says what `Library` does."""
    stub = (
        "import sys, ctypes; sys.platform = 'darwin'\n"
        "class Library:\n"
        "    def proc_pid_rusage(self, pid, flavour, buffer):\n"
        "        ctypes.memmove(buffer, bytes(16 + 28 * 8) + (1 << 40).to_bytes(8, sys.byteorder) + bytes(48), 296)\n"
        "        return 0\n"
        "ctypes.CDLL = lambda name: Library()\n"
    )
    report = tmp_path / "report"
    command = [sys.executable, "-S", "-c", stub + memory._LAUNCHER, str(report), sys.executable, "-c", "pass"]
    subprocess.run(command, check=True)
    assert int(report.read_text()) == 1 << 40


def test_a_gpu_s_memory(monkeypatch, cpu) -> None:
    assert memory.gpu_bytes() is None
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    monkeypatch.setattr(mx, "device_info", lambda device: {"max_recommended_working_set_size": 11 << 30})
    assert memory.gpu_bytes() == 11 << 30
    monkeypatch.setattr(mx, "device_info", lambda device: {})
    assert memory.gpu_bytes() is None

    def nothing(_device):
        raise ValueError("no such device")

    monkeypatch.setattr(mx, "device_info", nothing)
    assert memory.gpu_bytes() is None


def test_a_machine_that_cannot_be_asked(monkeypatch) -> None:
    def nothing(_name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(memory.os, "sysconf", nothing)
    assert memory.machine_bytes() is None
    assert memory.footprint_bytes() is None
