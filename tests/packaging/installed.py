"""Builds the wheel, installs it into an environment of its own, and runs the main jobs from `/`.

    python tests/packaging/installed.py [--lowest] [--keep FOLDER]

With `--lowest`, every dependency is installed in the lowest version that pyproject.toml declares for this machine.
Downloads from the package index; takes some minutes. Ends with status 1 at the first job that fails.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]

JOBS = {
    "sample": ("{bin}/vdt-mlx", "sample", "--task", "predict", "--format", "gif,mp4,png,npz", "--out", "{out}/sample"),
    "read back": (
        *("{bin}/vdt-mlx", "sample", "--input", "{out}/sample/sample.mp4"),
        *("--given", "4", "--out", "{out}/own"),
    ),
    "simulate": ("{bin}/vdt-mlx", "simulate", "--scenario", "drop", "--clips", "4", "--out", "{out}/data"),
    "examine": (
        *("{bin}/python", "-m", "evals.physics", "--scenario", "collide", "--clips", "1", "--library", "2"),
        *("--sections", "none"),
        *("--out", "{out}/exam"),
    ),
    "train": (
        *("{bin}/vdt-mlx", "train", "vdt", "--autoencoder", "{weights}", "--out", "{out}/run", "--steps", "2"),
        *("--set", "data.prefill=8", "--set", "loop.preview_minutes=0"),
    ),
    "export": ("{bin}/vdt-mlx", "export", "{weights}", "{out}/back.pt"),
    "convert": ("{bin}/vdt-mlx", "convert", "{out}/back.pt", "{out}/again"),
    "self-test": ("{bin}/vdt-mlx", "selftest", "--no-timings", "--out", "{out}/selftest.json"),
}
"""What is run; a job may use what one before it wrote."""


def lower_bounds(requirements: Sequence[str]) -> list[str]:
    """`name==lowest` for each of pyproject's requirements, its extras and its condition kept.

    Raises ValueError for one without a lower bound.
    """
    found = []
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)(\[[\w,]+\])?\s*>=\s*([\w.]+)\s*(;.*)?", requirement.strip())
        if match is None:
            raise ValueError(f"{requirement!r} declares no lowest version.")
        name, extras, version, condition = match.groups(default="")
        found.append(f"{name}{extras}=={version}{' ' + condition if condition else ''}")
    return found


def declared() -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]


def install(folder: Path, lowest: bool) -> Path:
    """The folder of commands of a fresh environment that has the wheel."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(folder / "wheel"), str(ROOT)], check=True)
    (wheel,) = (folder / "wheel").glob("vdt_mlx-*.whl")
    venv.create(folder / "environment", with_pip=True)
    commands = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    wanted = [str(wheel), *(lower_bounds(declared()) if lowest else [])]
    subprocess.run([commands / "python", "-m", "pip", "install", "-q", *wanted], check=True)
    return commands


def run_jobs(commands: Path, out: Path) -> None:
    """All jobs, from `/`, without this checkout on any path. Raises CalledProcessError for one that fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    found = subprocess.run(
        [
            commands / "python",
            "-c",
            "import weights, pathlib; print(pathlib.Path(weights.__file__).parent / 'physics')",
        ],
        **{"cwd": "/", "env": environment, "check": True, "capture_output": True, "text": True},
    )
    places = {"bin": commands, "out": out, "weights": found.stdout.strip()}
    for name, command in JOBS.items():
        print(f"{name} ...", flush=True)
        subprocess.run([part.format(**places) for part in command], cwd="/", env=environment, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowest", action="store_true", help="the lowest declared versions of the dependencies")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it there")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vdt-installed-") as temporary:
        folder = (chosen.keep or Path(temporary)).resolve()
        try:
            commands = install(folder, chosen.lowest)
            subprocess.run([commands / "python", "-m", "pip", "list"], check=True)
            run_jobs(commands, folder / "out")
        except subprocess.CalledProcessError as error:
            print(f"FAILED: {' '.join(map(str, error.cmd))} (status {error.returncode})", file=sys.stderr)
            return 1
    print("Every job ran.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
