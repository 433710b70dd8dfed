"""Reading data sets: every clip against the checksums and labels that its index has, and what does not belong is said.

Shards that were packed anew (other order of members, other paths in front of the names) are read too: then each clip is
compared with what the index says of it.
"""

import hashlib
import io
import re
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from physics_sim.errors import SimulationError
from physics_sim.files import parse_json, read_json, sha256
from physics_sim.units import FRAMES, GIVEN

FORMAT = "physics_sim"
VERSION = 2
LARGEST = {".json": 1 << 26, ".png": 1 << 28}
"""Bytes of a member of a shard."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FACTS = ("scenarios", "split", "seed", "start", "clips", "size", "frames", "given", "world", "contacts", "fingerprint")


def describe(path: str | Path) -> dict[str, Any]:
    """What a data set is made of, by its index: scenarios, split, seed, start, clips, size, frames, given, world,
    contacts (how many clips have one) and fingerprint.

    Raises SimulationError if the folder is not a data set, or not a finished one.
    """
    folder = Path(path).expanduser()
    body = {"world": 1, "frames": FRAMES, "given": GIVEN, "start": 0, **_index(folder)}
    facts = {name: body.get(name) for name in _FACTS}
    numbers = [facts[name] for name in ("seed", "start", "clips", "size", "frames", "given", "contacts")]
    names = facts["scenarios"] if isinstance(facts["scenarios"], list) else [None]
    fits = all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers)
    fits = fits and all(isinstance(name, str) for name in (*names, facts["split"], facts["fingerprint"]))
    if not fits or not isinstance(facts["world"], int | str):
        raise SimulationError(f"{folder / 'index.json'} is damaged: run the command that made the data set again.")
    return facts


def read(path: str | Path) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Yields (frames (T, size, size, 3) uint8, metadata) of every clip of a data set, a shard at a time.

    Raises SimulationError if the folder is not a data set, is not finished, or is damaged: a shard is cut, a clip is
    missing, or a label or picture is not the one that was written. Warns of files that are not part of the data set.
    """
    folder = Path(path).expanduser()
    index = _index(folder)
    _say_strangers(folder, index)
    count = 0
    for row in index["shards"]:
        for clip in _read_shard(folder, row):
            count += 1
            yield clip
    if count != index.get("clips", count):
        raise SimulationError(
            f"{folder / 'index.json'} is damaged: its shards hold {count} clips and it says {index['clips']!r}: run "
            "the command that made the data set again."
        )


def _index(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise SimulationError(f"There is no folder {folder}.")
    path = _regular(folder, "index.json")
    if not path.exists():
        if (folder / "dataset.json").exists():
            raise SimulationError(f"{folder} is not a complete data set: run the command that made it again.")
        raise SimulationError(f"{folder} is not a data set: it has no index.json.")
    body = read_json(path, "it is damaged: run the command that made the data set again")
    version = body.get("version")
    if body.get("format") != FORMAT or not isinstance(version, int):
        raise SimulationError(f"{path} is not the index of a simulated data set.")
    if version > VERSION:
        raise SimulationError(f"{path} has format {version}, which is newer than this program reads ({VERSION}).")
    rows = body.get("shards")
    if not isinstance(rows, list) or not rows or not all(map(_is_row, rows)):
        raise SimulationError(f"{path} does not say which shards there are: run the command that made it again.")
    return body


def _regular(folder: Path, name: str) -> Path:
    """A file of the folder; raises SimulationError for a link that leads out of it, a pipe or a device."""
    path = folder / name
    try:
        where, root = path.resolve(), folder.resolve()
    except (OSError, RuntimeError):
        raise SimulationError(f"{path} is a link that leads nowhere.") from None
    if root not in where.parents:
        raise SimulationError(f"{path} is a link that leads out of the data set: put the file itself there.")
    if path.exists() and not path.is_file():
        raise SimulationError(f"{path} is not a plain file.")
    return path


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("sha256"), str):
        return False
    return all(isinstance(row.get(key), str) and _PLAIN.fullmatch(row[key]) for key in ("file", "index"))


def _say_strangers(folder: Path, index: dict[str, Any]) -> None:
    known = {"index.json", "dataset.json", "dataset.lock"}
    known |= {row[key] for row in index["shards"] for key in ("file", "index")}
    strangers = sorted(item.name for item in folder.iterdir() if item.name not in known and item.name[0] != ".")
    if strangers:
        _warn(folder, strangers)


def _warn(where: Path, strangers: list[str]) -> None:
    are = "is" if len(strangers) == 1 else "are"
    warnings.warn(f"{where}: {_some(strangers)} {are} not part of the data set and left out.", stacklevel=4)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _read_shard(folder: Path, row: dict[str, Any]) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    path, labels = (_regular(folder, row[key]) for key in ("file", "index"))
    again = "remove it, and run the command that made the data set again"
    try:
        if "index_sha256" in row and sha256(labels) != row["index_sha256"]:
            raise SimulationError(f"{labels} was changed since it was written (its SHA-256 differs): {again}.")
        body = read_json(labels, again)
        clips = {clip["name"]: clip for clip in body["clips"]}
        exact = sha256(path) == row["sha256"]
    except FileNotFoundError as error:
        raise SimulationError(f"{error.filename} is missing: run the command that made the data set again.") from None
    except (OSError, KeyError, TypeError) as error:
        raise SimulationError(f"{labels} cannot be read ({error}): {again}.") from None
    if not exact and not all("png_sha256" in clip for clip in clips.values()):
        raise SimulationError(f"{path} was changed since it was written (its SHA-256 differs): {again}.")
    try:
        with tarfile.open(path) as tar:
            members = _members(tar, path, clips)
            for name in sorted(members, key=lambda name: min(member.offset for member in members[name].values())):
                found = {suffix: _bytes(tar, member, path) for suffix, member in members[name].items()}
                metadata = parse_json(found[".json"])
                if not exact:
                    _compare(path, clips[name], found[".png"], metadata)
                yield _picture(found[".png"], metadata), _upgraded(metadata)
    except (OSError, tarfile.TarError, ValueError, RecursionError, EOFError) as error:
        raise SimulationError(f"{path} cannot be read ({error}): {again}.") from None


def _members(tar: tarfile.TarFile, path: Path, clips: dict[str, Any]) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Of every clip its two members, by suffix; what else there is, is said."""
    found: dict[str, dict[str, tarfile.TarInfo]] = {name: {} for name in clips}
    strangers = []
    for member in tar.getmembers():
        name, _, suffix = PurePosixPath(member.name).name.partition(".")
        if member.isdir():
            continue
        if not member.isreg() or name not in found or f".{suffix}" not in LARGEST:
            strangers.append(member.name)
        elif f".{suffix}" in found[name]:
            raise SimulationError(f"{path} has {name}.{suffix} twice.")
        else:
            found[name][f".{suffix}"] = member
    lost = [name for name, members in found.items() if len(members) < len(LARGEST)]
    if lost:
        raise SimulationError(
            f"{path} lacks {len(lost)} of its {len(found)} clips, {_some(lost)}: it was cut; remove it, and run the "
            "command that made the data set again."
        )
    if strangers:
        _warn(path, strangers)
    return found


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    if member.size > LARGEST["." + member.name.rpartition(".")[2]]:
        raise SimulationError(f"{path}: {member.name} is too large ({member.size} bytes).")
    file = tar.extractfile(member)
    body = b"" if file is None else file.read()
    if len(body) != member.size:
        raise SimulationError(f"{path} is cut in {member.name}.")
    return body


def _compare(path: Path, clip: dict[str, Any], png: bytes, metadata: dict[str, Any]) -> None:
    told = {key: value for key, value in clip.items() if key not in ("name", "fingerprint", "png_sha256")}
    if metadata != told:
        raise SimulationError(f"{path}: the labels of {clip['name']} are not those that were written.")
    if hashlib.sha256(png).hexdigest() != clip["png_sha256"]:
        raise SimulationError(f"{path}: the frames of {clip['name']} are not those that were written.")


def _picture(png: bytes, metadata: dict[str, Any]) -> np.ndarray:
    """(T, size, size, 3) uint8 of the frames that stand side by side in a PNG."""
    from PIL import Image, UnidentifiedImageError

    frames = metadata.get("frames")
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            if not isinstance(frames, int) or frames < 1 or image.width != frames * image.height:
                raise ValueError(f"{image.width} x {image.height} pixels are not {frames} square frames")
            strip = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise ValueError(str(error)) from None
    return np.stack(np.split(strip, frames, axis=1))


def _upgraded(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata as they are written now; in the first format `world` was the side of the picture in metres."""
    if isinstance(metadata.get("world"), float):
        return {**metadata, "side": metadata["world"], "world": 1}
    return metadata
