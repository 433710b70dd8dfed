"""Whether two commits compute the same bytes: python -m tests.same_bytes BEFORE AFTER [--only sample,data,...]

Each commit is checked out into a folder of its own and run with this Python. Compared are

    sample    `vdt-mlx sample --format npz`
    data      a simulated data set
    training  the weights and the losses of a training run of 50 steps
    results   `results.json` of a short examination

but for what is different each time: times, memory, digests of the code, names of folders. Both use the weights of
BEFORE, so that a new checkpoint is no difference. It exits with 0 where all is the same and with 1 where something
differs, and says which files and keys.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SMALL = ("vdt.hidden_size=48", "vdt.depth=2", "vdt.num_heads=3", "vdt.in_channels=12", "vdt.latent_size=[8,8]")
FEW = ("loop.batch=4", "loop.preview_minutes=0", "data.prefill=32", "data.pool=64")

PARTS: dict[str, Callable[[Path, Path], list[list[str]]]] = {
    "sample": lambda model, out: [
        ["-m", "vdt_mlx", "sample", "--model", str(model), "--task", "predict", "--format", "npz", "--out", str(out)]
    ],
    "data": lambda model, out: [["-m", "vdt_mlx", "simulate", "--clips", "33", "--split", "val", "--out", str(out)]],
    "training": lambda model, out: [
        ["-m", "vdt_mlx", "train", "vdt", "--autoencoder", str(model), "--steps", "50", "--out", str(out)]
        + [word for change in (*SMALL, *FEW) for word in ("--set", change)]
    ],
    "results": lambda model, out: [
        ["-m", "evals.physics", "--model", str(model), "--clips", "1", "--scenario", "roll,parabola", "--out", str(out)]
    ],
}
"""What is run, one command after the other, for the weights `model` and an output folder."""
KEPT = {"sample": "*.npz", "data": "*", "training": "*", "results": "results.json"}
"""The files that are compared."""
PASSING = (
    *(
        "seconds",
        "hours",
        "digest",
        "code",
        "machine",
        "memory",
        "memory_gb",
        "peak",
        "created",
        "date",
        "time",
        "when",
    ),
    *("command", "out", "path", "model", "init", "cache", "autoencoder", "minutes", "versions", "speed", "rate"),
)
"""Keys of JSON, or their parts between underscores, whose values are of one run alone."""
LEFT_OUT = ("run.lock", "states", "cache", "previews")
"""Files and folders of one run alone; what they hold is in the others too."""


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A worktree of a commit, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", str(place), commit], cwd=ROOT, check=True)
        try:
            yield place
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(place)], cwd=ROOT, check=True)


def lasting(value: Any) -> Any:
    """JSON values without what is of one run alone."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if not any(part in PASSING for part in (k, *k.split("_")))}
    return [lasting(item) for item in value] if isinstance(value, list) else value


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in JSON values."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def contents(path: Path) -> dict[str, Any]:
    """What a file says, by name: its digest, or for JSON and JSON lines every lasting value."""
    if path.suffix not in (".json", ".jsonl"):
        return {"bytes": hashlib.sha256(path.read_bytes()).hexdigest()}
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return dict(flat(lasting(json.loads(text))))
    lines = [lasting(json.loads(line)) for line in text.splitlines()]
    return dict(flat([line for line in lines if set(line) - {"step"}]))  # others told of one run alone


def described(folder: Path, pattern: str) -> dict[str, dict[str, Any]]:
    """The contents of the files below a folder that are compared, by their relative paths."""
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
    names = {path.relative_to(folder): path for path in paths}
    return {name.as_posix(): contents(path) for name, path in names.items() if not set(name.parts) & set(LEFT_OUT)}


def differences(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each file that is not in both, and for each value that is another."""
    found = [f"{name}: only {'before' if name in before else 'after'}" for name in sorted(before.keys() ^ after.keys())]
    for name in sorted(before.keys() & after.keys()):
        a, b = before[name], after[name]
        for key in sorted(a.keys() | b.keys()):
            if a.get(key, "nothing") != b.get(key, "nothing"):
                found.append(f"{name}: {key}: {a.get(key, 'nothing')} -> {b.get(key, 'nothing')}")
    return found


def made(tree: Path, model: Path, part: str, out: Path) -> dict[str, dict[str, Any]]:
    """Runs a part with the code in `tree`; what it wrote. Raises SystemExit where a command fails."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    for command in PARTS[part](model, out):
        done = subprocess.run(
            [sys.executable, *command], cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr.decode()[-2000:]}")
    return described(out, KEPT[part])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", metavar="BEFORE", help="a commit")
    parser.add_argument("after", metavar="AFTER", help="a commit")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    chosen = parser.parse_args(arguments)
    parts = chosen.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    different = False
    with checked_out(chosen.before) as before, checked_out(chosen.after) as after, tempfile.TemporaryDirectory() as out:
        model = before / "weights" / "physics"
        for part in parts:
            found = [made(tree, model, part, Path(out) / part / tree.parent.name) for tree in (before, after)]
            said = differences(*found)
            different = different or bool(said) or not found[0]
            print(f"{part}: {'differs' if said else f'the same in {len(found[0])} files'}", flush=True)
            for line in said[:20]:
                print(f"    {line[:200]}")
            if len(said) > 20:
                print(f"    and {len(said) - 20} more")
    return int(different)


if __name__ == "__main__":
    sys.exit(main())
