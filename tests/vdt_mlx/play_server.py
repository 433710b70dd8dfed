"""Starts a playground in a process of its own; shared by the tests of `play`."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Server:
    process: subprocess.Popen
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def start(model: Path, *options: str) -> Server:
    command = [
        sys.executable,
        "-u",
        "-m",
        "vdt_mlx",
        "play",
        "--no-open",
        "--port",
        "0",
        "--model",
        str(model),
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    found = re.search(r"http://[^:]+:(\d+)/", line)
    assert found, line + process.stderr.read()
    return Server(process, int(found[1]))
