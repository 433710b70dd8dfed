"""What a training run, a data set of simulated clips and a training state are. For `vdt-mlx info`."""

from collections import Counter
from pathlib import Path
from typing import Any

from vdt_mlx.errors import VDTError
from vdt_mlx.reading import json_lines, read_json
from vdt_mlx.safetensors_header import ITEM_BYTES, read_header
from weights.places import RUN_FILE

INDEX_FILE, STATE_FILE, LOG_FILE, STATES = "index.json", "state.safetensors", "log.jsonl", "states"
_LAST_BYTES = 1 << 20


def is_data_set(folder: Path) -> bool:
    """Whether this folder holds a data set that `vdt-mlx simulate` wrote."""
    from physics_sim.dataset_reader import FORMAT

    if not (folder / INDEX_FILE).is_file():
        return False
    body = read_json(folder / INDEX_FILE, "index")
    return isinstance(body, dict) and body.get("format") == FORMAT


def about_data_set(folder: Path) -> dict[str, Any]:
    """Describes a data set: which clips, how many, in how many files."""
    body = read_json(folder / INDEX_FILE, "index")
    shards = body.get("shards")
    if not isinstance(shards, list) or not all(isinstance(shard, dict) for shard in shards):
        raise VDTError(f"{folder / INDEX_FILE} does not list its shards.")
    names = [Path(str(shard.get("file"))).name for shard in shards]
    missing = [name for name in names if not (folder / name).is_file()]
    keys = (
        "scenarios",
        "split",
        "seed",
        "world",
        "clips",
        "start",
        "frames",
        "given",
        "size",
        "contacts",
        "fingerprint",
    )
    return {
        "kind": "data set of simulated clips",
        "path": str(folder),
        "data_set": {key: body[key] for key in keys if key in body},
        "missing": missing,
        "files": {name: (folder / name).stat().st_size for name in names if name not in missing},
    }


def about_run(folder: Path) -> dict[str, Any]:
    """Describes a training run: what it trains, how far it is, what it says last."""
    body = read_json(folder / RUN_FILE, "run")
    if not isinstance(body, dict) or not isinstance(body.get("config"), dict):
        raise VDTError(f"{folder / RUN_FILE} does not describe a training run.")
    config = body["config"]
    loop = config.get("autoencoder_loop" if body.get("kind") == "autoencoder" else "loop")
    last = _last_entries(folder / LOG_FILE)
    return {
        "kind": "training run",
        "path": str(folder),
        "run": {
            "trains": body.get("kind"),
            "configuration": config.get("name"),
            "steps": loop.get("steps") if isinstance(loop, dict) else None,
            "done": last.get("step", {}).get("step", 0),
            "loss": last.get("loss", {}).get("loss"),
            "preview": last.get("preview", {}).get("preview"),
            "states": sorted(path.name for path in (folder / STATES).glob("step-*")),
        },
        "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
    }


def _last_entries(log: Path) -> dict[str, dict[str, Any]]:
    """The last entry of a log that has a step, a loss, a preview; lines that are cut short are left out."""
    found: dict[str, dict[str, Any]] = {}
    if not log.is_file():
        return found
    for entry in json_lines(log, "log", last=_LAST_BYTES):
        found.update({key: entry for key in ("step", "loss", "preview") if key in entry})
    return found


def about_state(path: Path) -> dict[str, Any]:
    """Describes the training state that a run resumes from."""
    header = read_header(path)
    groups: Counter[str] = Counter()
    for name, entry in header.entries.items():
        groups[name.partition("/")[0]] += (entry.stop - entry.start) // ITEM_BYTES[entry.dtype]
    return {
        "kind": "training state, for `vdt-mlx train ... --resume`",
        "path": str(path),
        "state": {"step": header.metadata.get("step"), "numbers": dict(groups)},
        "files": {path.name: path.stat().st_size},
    }
