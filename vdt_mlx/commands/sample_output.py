"""Where `vdt-mlx sample` writes, and what: animation, contact sheet, frames and arrays; and lines on the screen."""

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from vdt_mlx.errors import VDTError, harmless
from vdt_mlx.generated import Generated

NAMES = {
    "contact_sheet": "contact_sheet.png",
    "gif": "sample.gif",
    "mp4": "sample.mp4",
    "npz": "sample.npz",
    "png": "frames",
    "settings": "sample.json",
}
"""What a sample's folder holds, by what it is called in sample.json."""
MOST_NUMBERED = 10_000


def free_folder(out: Path, force: bool) -> Path:
    """`out`, or `out-2`, `out-3`, ... if there is a sample in it already that is not to be replaced."""
    if force or not _has_sample(out):
        return out
    whole = out if out.name else out.resolve()
    for number in range(2, MOST_NUMBERED):
        if not _has_sample(other := whole.with_name(f"{whole.name}-{number}")):
            return other
    raise VDTError(f"There are {MOST_NUMBERED} samples beside {out}; give another --out, or --force.")


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Makes sure, before any work, that `out` can be written to; takes a folder that stayed empty away again."""
    if out.exists() and not out.is_dir():
        raise VDTError(f"--out {out} is a file; give a folder.")
    created = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise VDTError(f"--out {out} cannot be written to ({error.strerror or error}).") from None
    try:
        yield
    finally:
        for path in created:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def write(made: Generated, folder: Path, formats: Sequence[str]) -> list[str]:
    """Writes a contact sheet and a file for each format into a folder; returns which of NAMES were made."""
    names = ["contact_sheet", *formats]
    for name in names:
        made.save(folder / NAMES[name])
    return names


def report(result: dict[str, Any], peak: int) -> None:
    """Says what was written, how good it is, and what it took; `peak` in MiB."""
    metrics = result["metrics"]
    for name, path in result["outputs"].items():
        click.echo(f"{name.replace('_', ' ') + ':':15} {path}")
    if "pair_error" in metrics:
        names = metrics.get("objects", ["agent", "patient"])
        followed = harmless(" and ".join(names))
        line = f"{'pair error:':15} {metrics['pair_error']:.2f} px from the true to the generated {followed}"
        line += f", {metrics['pair_error_final']:.2f} at the end"
        if "pair_error_copy_last" in metrics:
            line += f"; repeating the last given frame: {metrics['pair_error_copy_last']:.2f}"
        click.echo(line)
        click.echo(f"{'presence:':15} {_presence(metrics['presence'], len(names))}")
    if "psnr" in metrics:
        click.echo(f"{'PSNR:':15} {metrics['psnr']:.1f} dB over the generated frames")
    drift = metrics.get("pair_error_by_frame")
    if drift:
        shown = [f"{value:.1f}" if value is not None else "-" for value in drift[:: max(1, len(drift) // 8)]]
        click.echo(f"{'drift:':15} {' '.join(shown)} px, every {max(1, len(drift) // 8)} frames")
    click.echo(f"{'time:':15} {result['seconds']:.1f} s, {peak} MiB at most")
    again = shlex.join(["vdt-mlx", "sample", "--replay", result["outputs"]["settings"]])
    click.echo(f"{'next:':15} {again} makes it again")


def _presence(share: float, count: int) -> str:
    if count == 1:
        return f"it is there in {share:.0%} of the frames"
    return f"{share:.0%} of the {'two' if count == 2 else count} are there"


def _has_sample(folder: Path) -> bool:
    return any((folder / name).exists() for name in NAMES.values())
