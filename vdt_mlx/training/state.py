"""Training states: what an exact resume needs, written whole or not at all; the log beside them; one owner a folder.

A save is a protocol of two steps: `states/step-N` (arrays, and a manifest with their checksum), then the checkpoint
folder that is made from it. A run that was cut off between the two has a state and an older checkpoint, or none: what
is there says so, and the run writes the checkpoint that should be there when it is resumed.
"""

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlx.core as mx

from vdt_mlx.checkpoint import read_safetensors
from vdt_mlx.config import AUTOENCODER_FILE, VDT_FILE, read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_folder, atomic_path, sha256
from vdt_mlx.reading import json_lines, read_json

STATES = "states"
LOG = "log.jsonl"
RUN = "run.json"
RECIPE = "recipe.json"
LOCK = "run.lock"
ARRAYS, MANIFEST = "state.safetensors", "manifest.json"
DIVERGED = 2.0
"""A state counts as diverged when its smoothed loss is so many times the lowest that the run has had."""
_STEP = re.compile(r"step-(\d{8})$")
_ASIDE = re.compile(r"\.(.+)-[^-]+\.(partial|old)$")


@contextmanager
def owned(out: Path) -> Iterator[None]:
    """Makes the folder `out`, if need be, and holds it for this process: the lock dies with it, however that ends.

    Raises VDTError if another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no POSIX: nothing holds a folder there
        out.mkdir(parents=True, exist_ok=True)
        yield
        return
    if out.exists() and not out.is_dir():
        raise VDTError(f"{out} exists and is no folder.")
    existed, known = out.exists(), (out / LOCK).exists()
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise VDTError(f"Another process is training in {out}: wait for it, or choose another folder.") from None
        try:
            yield
        finally:
            if not known and not any((out / name).exists() for name in (RUN, RECIPE)):  # nothing came of it
                (out / LOCK).unlink(missing_ok=True)
                with suppress(OSError):  # it holds somebody else's files
                    if not existed:
                        out.rmdir()


def taken(out: Path) -> bool:
    """Whether there is anything in a folder besides its lock."""
    return out.exists() and (not out.is_dir() or any(path.name != LOCK for path in out.iterdir()))


def save_state(
    out: Path, step: int, groups: dict[str, dict[str, mx.array]], keep: int, loss: dict[str, float] | None = None
) -> Path:
    """Writes `out/states/step-N` and then removes older ones.

    Args:
        keep: how many of the newest stay; the newest that has not diverged stays besides, so that there is a way back.
        loss: `smoothed`, and the `lowest` that it has been.
    """
    folder = out / STATES / f"step-{step:08d}"
    flat = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
    with atomic_folder(folder, replace=True) as partial:
        path = partial / ARRAYS
        mx.save_safetensors(str(path), flat, {"step": str(step)})
        manifest = {"step": step, "bytes": path.stat().st_size, "sha256": sha256(path), "loss": loss or {}}
        (partial / MANIFEST).write_text(json.dumps(plain(manifest), indent=2) + "\n", encoding="utf-8")
        for written in (path, partial / MANIFEST):
            _sync(written)
    states = find_states(out)
    sound = next((state for state in states if not diverged(state)), None)
    for old in states[keep:]:
        if old != sound:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def manifest_of(state: Path) -> dict[str, Any]:
    """A state's manifest; empty where there is none (earlier versions wrote none)."""
    if not (state / MANIFEST).exists():
        return {}
    body = read_json(state / MANIFEST, "manifest of a training state")
    return body if isinstance(body, dict) else {}


def diverged(state: Path) -> bool:
    """Whether a state was saved after its run's loss had blown up; unknown counts as sound."""
    try:
        loss = manifest_of(state).get("loss") or {}
        smoothed = loss.get("smoothed", 0.0)
        return smoothed is None or smoothed > DIVERGED * loss["lowest"] > 0
    except (VDTError, KeyError, TypeError, AttributeError):
        return False


def find_states(out: Path) -> list[Path]:
    """The saved states, newest first."""
    folder = out / STATES
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _STEP.fullmatch(path.name)), reverse=True)


def step_of(state: Path) -> int:
    """The step in a state's name."""
    return int(state.name.removeprefix("step-"))


def load_state(out: Path, at: int | None = None) -> tuple[int, dict[str, dict[str, mx.array]]]:
    """The newest whole state, or the one of step `at`: its step and its groups.

    Raises VDTError if there is none (names those that are damaged).
    """
    states, faults = find_states(out), []
    if at is not None:
        known = ", ".join(str(step_of(state)) for state in reversed(states))
        states = [state for state in states if step_of(state) == at]
        if not states:
            raise VDTError(f"{out} has no state of step {at}{f': it has {known}' if known else ''}.")
    for folder in states:
        try:
            _check(folder)
            flat: Any = mx.load(str(folder / ARRAYS))
            mx.eval(list(flat.values()))
        except Exception as error:  # a file that another program cut short: the one before may be whole
            faults.append(f"{folder.name}: {error}")
            continue
        groups: dict[str, dict[str, mx.array]] = {}
        for name, value in flat.items():
            group, _, key = name.partition("/")
            groups.setdefault(group, {})[key] = value
        return step_of(folder), groups
    if faults:
        raise VDTError(f"No training state in {out / STATES} can be read ({'; '.join(faults)}).")
    raise VDTError(f"There is no training state in {out} to resume from.")


def _check(state: Path) -> None:
    """Raises VDTError if a state's arrays are not those that were written."""
    manifest, path = manifest_of(state), state / ARRAYS
    if not manifest:
        return
    if not path.is_file() or path.stat().st_size != manifest.get("bytes") or sha256(path) != manifest.get("sha256"):
        raise VDTError(f"{ARRAYS} is not what its manifest says")


def drop_states_after(out: Path, step: int) -> None:
    """Removes the states of later steps: a run that goes back to `step` will write others."""
    for state in find_states(out):
        if step_of(state) > step:
            shutil.rmtree(state, ignore_errors=True)


def checkpoint_is_of(folder: Path, step: int) -> bool:
    """Whether a checkpoint folder is there, readable, and made from the state of this step."""
    try:
        training = read_config(folder).training or {}
        files = [folder / name for name in (VDT_FILE, AUTOENCODER_FILE) if (folder / name).exists()]
        for file in files:
            read_safetensors(file)
        return bool(files) and training.get("steps") == step
    except VDTError:
        return False


def remove_leftovers(out: Path) -> None:
    """Clears what a killed process left half written; what it had moved aside and not yet replaced goes back."""
    for folder in (out, out / STATES, out / "previews", out / "cache"):
        if not folder.is_dir():
            continue
        for path in sorted(folder.glob(".*")):
            match = _ASIDE.fullmatch(path.name)
            if match and match[2] == "old" and not (folder / match[1]).exists():
                path.replace(folder / match[1])
            elif match or ".partial" in path.name:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def write_run(out: Path, body: dict[str, Any]) -> None:
    """Writes `run.json`: the configuration and what it was started from."""
    with atomic_path(out / RUN) as partial:
        partial.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def read_run(out: Path) -> dict[str, Any]:
    """Reads `run.json`; raises VDTError when the folder is not a training run's."""
    path = out / RUN
    if not path.exists():
        raise VDTError(f"{out} is not the folder of a training run: it has no {RUN}.")
    body = read_json(path, "description of a run")
    if not isinstance(body, dict) or not isinstance(body.get("config"), dict):
        raise VDTError(f"{path} does not describe a training run.")
    return body


def plain(value: Any) -> Any:
    """The value with None for numbers that JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


class Log:
    """`log.jsonl`: one JSON object a line; lines after the step that a run resumes from are dropped."""

    def __init__(self, out: Path, step: int):
        self.path = out / LOG
        if self.path.exists():
            kept = [entry for entry in read_log(out) if entry.get("step", 0) <= step]
            with atomic_path(self.path) as partial:
                partial.write_text("".join(json.dumps(plain(entry)) + "\n" for entry in kept), encoding="utf-8")
        self.file = self.path.open("a", encoding="utf-8", buffering=1)

    def write(self, entry: dict[str, Any]) -> None:
        self.file.write(json.dumps(plain(entry), allow_nan=False) + "\n")

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def read_log(out: Path) -> list[dict[str, Any]]:
    """The log's entries; a line that a crash cut short, or that has no such step, is left out.

    Raises VDTError if there is no log.
    """
    path = out / LOG
    if not path.is_file():
        raise VDTError(f"{out} has no {LOG}, so there is nothing to read.")
    return [entry for entry in json_lines(path, "log") if _is_step(entry.get("step", 0))]


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
