"""What decides the bytes of a sample besides its settings, and what of it has changed when the sample is made again."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vdt_mlx.config import AUTOENCODER_FILE, TINY_AUTOENCODER_FILE, VDT_FILE
from vdt_mlx.device.about import describe
from vdt_mlx.files import sha256
from vdt_mlx.reading import read_json

PACKAGES = ("vdt-mlx", "mlx", "numpy", "pymunk")
_TITLES = {
    "model_sha256": "the network's weights",
    "autoencoder_sha256": "the autoencoder's weights",
    "tiny_autoencoder_sha256": "the small autoencoder's weights",
    "cores": "processor cores",
    "device": "device",
    "chip": "chip",
    "platform": "system",
    "openblas": "OpenBLAS",
    "tf32": "shortened products (tf32)",
}


def made_with(folder: Path) -> dict[str, Any]:
    """Checksums of the weights in a checkpoint folder, versions, machine and cores: what a replay is compared with."""
    files = {"model_sha256": VDT_FILE, "autoencoder_sha256": AUTOENCODER_FILE}
    files["tiny_autoencoder_sha256"] = TINY_AUTOENCODER_FILE
    sums = {key: sha256(folder / name) for key, name in files.items() if (folder / name).is_file()}
    versions = {name: found for name in PACKAGES if (found := _version(name)) is not None}
    return {**sums, "versions": versions, "machine": describe(), "cores": os.cpu_count()}


def recorded(path: Path) -> dict[str, Any] | None:
    """What a sample.json says that its sample was made with; None where it says nothing."""
    body = read_json(path, "sample.json")
    found = body.get("made_with") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else None


def differences(before: Any, now: dict[str, Any]) -> list[str]:
    """What a sample was made with that is not so now, one phrase each; what is not recorded cannot differ."""
    if not isinstance(before, dict):
        return []
    found = []
    for key, value in _flat(before).items():
        current = _flat(now)
        if key not in current or value == current[key] or key.startswith("machine.mlx"):
            continue
        name = key.rpartition(".")[2]
        if key.endswith("sha256"):
            found.append(f"{_TITLES[name]} are others")
        elif key.startswith("versions."):
            found.append(f"{name} {_brief(value)} then, {_brief(current[key])} now")
        elif name in _TITLES:
            found.append(f"{_TITLES[name]}: {_brief(value)} then, {_brief(current[key])} now")
    return found


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    """`{"machine": {"chip": 1}}` -> `{"machine.chip": 1}`, for the sections that are compared."""
    flat = {key: value for key, value in table.items() if key.endswith("_sha256") or key == "cores"}
    for section in ("versions", "machine"):
        inner = table.get(section)
        if isinstance(inner, dict):
            flat.update({f"{section}.{key}": value for key, value in inner.items()})
    return flat


def _brief(value: Any) -> str:
    return str(value)[:60]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
