"""Training states: what an exact resume needs, written whole or not at all; and the log beside them."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx

from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_folder, atomic_path

STATES = "states"
LOG = "log.jsonl"
RUN = "run.json"
_STEP = re.compile(r"step-(\d{8})$")


def save_state(out: Path, step: int, groups: dict[str, dict[str, mx.array]], keep: int) -> Path:
    """Writes `out/states/step-N` and then removes older ones but the newest `keep`."""
    folder = out / STATES / f"step-{step:08d}"
    flat = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
    with atomic_folder(folder, replace=True) as partial:
        mx.save_safetensors(str(partial / "state.safetensors"), flat, {"step": str(step)})
        _sync(partial / "state.safetensors")
    for old in find_states(out)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def find_states(out: Path) -> list[Path]:
    """The saved states, newest first."""
    folder = out / STATES
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _STEP.search(path.name)), reverse=True)


def load_state(out: Path) -> tuple[int, dict[str, dict[str, mx.array]]]:
    """The newest readable state: its step and its groups. Raises VDTError if there is none."""
    faults = []
    for folder in find_states(out):
        try:
            flat: Any = mx.load(str(folder / "state.safetensors"))
            mx.eval(list(flat.values()))
        except Exception as error:  # a file that another program cut short: the one before may be whole
            faults.append(f"{folder.name}: {error}")
            continue
        groups: dict[str, dict[str, mx.array]] = {}
        for name, value in flat.items():
            group, _, key = name.partition("/")
            groups.setdefault(group, {})[key] = value
        return int(_STEP.search(folder.name).group(1)), groups  # type: ignore[union-attr]
    if faults:
        raise VDTError(f"No training state in {out / STATES} can be read ({'; '.join(faults)}).")
    raise VDTError(f"There is no training state in {out} to resume from.")


def remove_leftovers(out: Path) -> None:
    """Removes what a killed process left half written."""
    for folder in (out, out / STATES):
        if folder.is_dir():
            for path in folder.glob(".*.partial*"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            for path in folder.glob(".*.old"):
                shutil.rmtree(path, ignore_errors=True)


def write_run(out: Path, body: dict[str, Any]) -> None:
    """Writes `run.json`: the configuration and what it was started from."""
    with atomic_path(out / RUN) as partial:
        partial.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def read_run(out: Path) -> dict[str, Any]:
    """Reads `run.json`; raises VDTError when the folder is not a training run's."""
    path = out / RUN
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VDTError(f"{out} is not the folder of a training run: it has no {RUN}.") from None
    except (OSError, ValueError) as error:
        raise VDTError(f"{path} cannot be read ({error}).") from None
    if not isinstance(body, dict) or "config" not in body:
        raise VDTError(f"{path} does not describe a training run.")
    return body


class Log:
    """`log.jsonl`: one JSON object a line; lines after the step that a run resumes from are dropped."""

    def __init__(self, out: Path, step: int):
        self.path = out / LOG
        if self.path.exists():
            kept = [entry for entry in read_log(out) if entry.get("step", 0) <= step]
            with atomic_path(self.path) as partial:
                partial.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        self.file = self.path.open("a", encoding="utf-8", buffering=1)

    def write(self, entry: dict[str, Any]) -> None:
        self.file.write(json.dumps(entry) + "\n")

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def read_log(out: Path) -> list[dict[str, Any]]:
    """The log's entries; a line that was cut short by a crash is left out. Raises VDTError if there is no log."""
    path = out / LOG
    if not path.is_file():
        raise VDTError(f"{out} has no {LOG}, so there is nothing to read.")
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def _sync(path: Path) -> None:
    import os

    with path.open("rb+") as file:
        os.fsync(file.fileno())
