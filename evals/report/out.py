"""The folder that results and a report go to: which one it is, and whether it can be."""

import os
from pathlib import Path

from vdt_mlx.errors import VDTError


def usual_folder(name: str, last: bool) -> Path:
    """`vdt-out/NAME-N` with the first number that is free, or with the `last` one that is not."""
    number = 1
    while (Path("vdt-out") / f"{name}-{number}").exists():
        number += 1
    return Path("vdt-out") / f"{name}-{max(number - 1, 1) if last else number}"


def check_folder(out: Path) -> None:
    """Raises VDTError for --out that can be no folder to write to. Nothing is made."""
    if out.exists() and not out.is_dir():
        raise VDTError(f"`out` {out} is a file; give a folder.")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise VDTError(f"`out` {out} cannot be written to.")
