"""A playground in a process of its own, for what looks at it from outside: pictures and measurements."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vdt_mlx.errors import VDTError

BROWSER_OPTIONS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Served:
    """A playground that runs."""

    address: str
    port: int
    pid: int


@contextmanager
def served(model: str) -> Iterator[Served]:
    """Starts `vdt-mlx play` on a free port, without a browser, and ends it. Raises VDTError if it does not start."""
    command = [sys.executable, "-u", "-m", "vdt_mlx", "play", "--no-open", "--port", "0", "--model", model]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://[^:]+:(\d+)/", process.stdout.readline())
        if found is None:
            raise VDTError("The playground did not start; `vdt-mlx play` says why.")
        yield Served(found[0], int(found[1]), process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def find_browser() -> str | None:
    """The path of a Chromium on this machine."""
    import shutil

    return next((found for name in BROWSERS if (found := shutil.which(name))), None)
