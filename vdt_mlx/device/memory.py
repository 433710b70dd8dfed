"""How much memory there is, and how much was used at most: of this machine, its GPU, this process, a command.

On a Mac the GPU shares the machine's memory, and what it holds counts in a process's *physical footprint* alone:
neither the resident size nor `mx.get_peak_memory` covers it.
"""

import ctypes
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import mlx.core as mx

RUSAGE_INFO_V4 = 4
_LENGTH = 16 + 35 * 8
"""Bytes of macOS's `struct rusage_info_v4`: a UUID and 35 numbers."""
_FOOTPRINT, _LIFETIME_MAX_FOOTPRINT = 7, 28
"""Which of the numbers (<sys/resource.h>)."""


def machine_bytes() -> int | None:
    """Memory of this machine, or of this container; None where it cannot be told."""
    sizes = []
    try:
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit.isdigit():
            sizes.append(int(limit))
    except (OSError, ValueError):
        pass
    return min(sizes, default=None)


def gpu_bytes() -> int | None:
    """What the GPU that MLX computes on may use without paging (`max_recommended_working_set_size`); None on a CPU."""
    if mx.default_device().type == mx.cpu:
        return None
    try:
        size = mx.device_info(mx.default_device()).get("max_recommended_working_set_size")
    except (RuntimeError, ValueError):
        return None
    return int(size) if size else None


def footprint_bytes() -> int | None:
    """The memory that this process holds now, with what its GPU holds; None where it cannot be told."""
    if sys.platform == "darwin":
        return _footprint(_FOOTPRINT)
    try:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
    return resident + (0 if mx.default_device().type == mx.cpu else mx.get_active_memory())


def peak_bytes() -> int:
    """The most memory that this process has held so far, MLX's, its GPU's and Python's together."""
    return max(peak_resident(), mx.get_peak_memory(), _footprint(_LIFETIME_MAX_FOOTPRINT) or 0)


def peak_resident() -> int:
    """The largest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss also counts what the parent held when it started this process
        high = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(high.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * maxrss_unit()


def maxrss_unit() -> int:
    """Bytes in a unit of `ru_maxrss`: KiB on Linux, bytes on a Mac."""
    return 1 if sys.platform == "darwin" else 1024


def _footprint(field: int) -> int | None:
    """A number of this process's `rusage_info_v4`; None where the system has none."""
    if sys.platform != "darwin":
        return None
    buffer = ctypes.create_string_buffer(_LENGTH)
    try:
        failed = ctypes.CDLL(None).proc_pid_rusage(os.getpid(), RUSAGE_INFO_V4, ctypes.byref(buffer))
    except (AttributeError, OSError):
        return None
    return None if failed else int.from_bytes(buffer.raw[16 + 8 * field : 24 + 8 * field], sys.byteorder)


# Runs a command from a small process, so that its ru_maxrss is its own and not that of whoever measures. On a Mac the
# footprint of the command is looked up until it ends: it is not among what wait4 tells.
_LAUNCHER = f"""
import os, sys, time
process = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
peak = 0
if sys.platform == "darwin":
    import ctypes
    library, buffer = ctypes.CDLL(None), ctypes.create_string_buffer({_LENGTH})
    ended = 0
    while not ended:
        if library.proc_pid_rusage(process, {RUSAGE_INFO_V4}, ctypes.byref(buffer)) == 0:
            field = buffer.raw[{16 + 8 * _LIFETIME_MAX_FOOTPRINT}:{24 + 8 * _LIFETIME_MAX_FOOTPRINT}]
            peak = max(peak, int.from_bytes(field, sys.byteorder))
        time.sleep(0.02)
        ended, status, usage = os.wait4(process, os.WNOHANG)
else:
    _, status, usage = os.wait4(process, 0)
with open(sys.argv[1], "w") as report:
    report.write(str(max(peak, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))))
sys.exit(0 if status == 0 else 1)
"""


def peak_of(command: list[str], stdout: IO[bytes] | int = subprocess.DEVNULL) -> int | None:
    """Runs a command (its first word a path); the most memory that it held in bytes, None if it failed."""
    with tempfile.NamedTemporaryFile("r") as report:
        ended = subprocess.run([sys.executable, "-S", "-c", _LAUNCHER, report.name, *command], stdout=stdout)
        return int(report.read()) if ended.returncode == 0 else None
