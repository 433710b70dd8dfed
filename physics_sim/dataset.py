"""Data sets on disk: shards in the WebDataset form, written whole or not at all, so that a killed run can go on.

    DIR/dataset.json         what was asked for (written first; a run goes on only where this is the same)
    DIR/shard-00000.tar      clips: NAME.png (the frames side by side, lossless) and NAME.json (labels and states)
    DIR/shard-00000.json     the index of that shard: the same labels and states, and the tar's size and SHA-256
    DIR/index.json           written last: all shards, counts, and the fingerprint of all states

Tar with PNG and JSON, because every language opens it without us: `webdataset`, `tar xf`, any picture viewer.
"""

import errno
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from physics_sim.clip import Clip
from physics_sim.dataset_reader import FORMAT, VERSION
from physics_sim.errors import SimulationError
from physics_sim.files import disk_errors, parse_json, partial_path, read_json, sha256, write_json
from physics_sim.rendering import check_size
from physics_sim.sampling import check, make_clip
from physics_sim.streaming import MOST_WORKERS, in_order
from physics_sim.worlds import WORLD_VERSION, World

MOST = {"clips": 10**9, "shard": 10**6, "start": 2**62}
RESERVE = 1.15
"""Free space asked for, as a multiple of what is expected to be written."""


@dataclass(frozen=True)
class DataSetSpec:
    """What a data set is made of. Position p is clip p // S of scenario p % S, for S scenarios."""

    scenarios: tuple[str, ...]
    split: str
    clips: int
    seed: int = 0
    size: int = 64
    shard: int = 220
    """Clips a shard."""
    chaos: bool = False
    """Whether every clip is also run with ten times the substeps, to flag the chaotic ones."""
    frames: int | None = None
    """Of a clip; by default the world's."""
    given: int | None = None
    world: World = WORLD_VERSION
    start: int = 0
    """The position of the first clip."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scenarios", tuple(self.scenarios))
        if not self.scenarios:
            raise SimulationError("A data set needs at least one scenario.")
        for name in self.scenarios:
            recipe = check(name, self.split, self.seed, frames=self.frames, given=self.given, world=self.world)
        for what in ("frames", "given"):
            object.__setattr__(self, what, getattr(recipe, what))
        object.__setattr__(self, "world", recipe.profile.world)
        if len(set(self.scenarios)) < len(self.scenarios):
            raise SimulationError("A scenario is named twice.")
        check_size(self.size)
        for what, least in (("clips", 1), ("shard", 1), ("start", 0)):
            value = getattr(self, what)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST[what]:
                raise SimulationError(f"{what} must be a whole number from {least} to {MOST[what]}, not {value!r}.")

    @property
    def shards(self) -> int:
        return -(-self.clips // self.shard)

    def span(self, shard: int) -> range:
        """The positions in a shard."""
        first = shard * self.shard
        return range(self.start + first, self.start + min(first + self.shard, self.clips))

    def name(self, position: int) -> str:
        """The name of a clip in its shard (no dots: WebDataset splits at the first)."""
        scenario = self.scenarios[position % len(self.scenarios)]
        return f"{scenario}-{self.split}-{position // len(self.scenarios):06d}"

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}))


def write(
    out: str | Path, spec: DataSetSpec, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Writes a data set, or goes on with one; returns the path of its index.

    One that has fewer clips, and is the same otherwise, is extended: its bytes are then those of one that was made so
    long at once. `progress(done, all)` is called as clips get done. Raises SimulationError if the folder holds
    something else, the disk is or would be full, or a worker was killed; complete shards stay and are not made again.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MOST_WORKERS:
        raise SimulationError(f"workers must be a whole number from 1 to {MOST_WORKERS}, not {workers!r}.")
    out = Path(out).expanduser()
    with disk_errors(out), _claimed(out, spec):
        there = {int(path.stem[6:]) for path in out.glob("shard-*.json") if path.stem[6:].isdecimal()}
        whole = {shard for shard in sorted(there) if shard < spec.shards and _complete(out, spec, shard)}
        done = sum(len(spec.span(shard)) for shard in whole)
        _check_space(out, spec, spec.clips - done)
        _begin(out, spec)
        # Not lists: there may be very many.
        missing = (shard for shard in range(spec.shards) if shard not in whole)
        others = (shard for shard in range(spec.shards) if shard not in whole)
        items = _made(spec, (position for shard in others for position in spec.span(shard)), workers)
        try:
            for shard in missing:
                before = done

                def tell(number: int, before: int = before) -> None:
                    if progress is not None:
                        progress(before + number, spec.clips)

                with partial_path(out / f"{_stem(shard)}.tar") as path:
                    index = _write_tar(path, spec, shard, items, tell)
                write_json(out / f"{_stem(shard)}.json", index, compact=True)
                done += len(spec.span(shard))
        finally:
            items.close()
        return _write_index(out, spec)


def make_item(spec: DataSetSpec, position: int) -> tuple[str, bytes, bytes, str]:
    """(name, PNG, JSON, fingerprint) of one clip."""
    from physics_sim.digest import fingerprint

    scenarios = spec.scenarios
    clip = make_clip(
        scenarios[position % len(scenarios)],
        spec.split,
        position // len(scenarios),
        seed=spec.seed,
        size=spec.size,
        frames=spec.frames,
        given=spec.given,
        world=spec.world,
    )
    body = json.dumps(clip.metadata(chaos=spec.chaos), separators=(",", ":"), allow_nan=False)
    return spec.name(position), to_png(clip), body.encode(), fingerprint([clip])


def to_png(clip: Clip) -> bytes:
    """The frames side by side, from left to right, as a PNG."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.concatenate(list(clip.frames), axis=1)).save(out, "PNG", compress_level=6)
    return out.getvalue()


def make_items(spec: DataSetSpec, positions: Sequence[int]) -> list[tuple[str, bytes, bytes, str]]:
    """The work of one worker at a time."""
    return [make_item(spec, position) for position in positions]


def _made(spec: DataSetSpec, positions: Iterator[int], workers: int) -> Any:
    """Yields the items of all positions, in order."""
    if workers == 1:
        return (make_item(spec, position) for position in positions)
    # Pieces hold whole pairs of clips, which are found together.
    piece = 4 * len(spec.scenarios)
    jobs = ((spec, some) for some in iter(lambda: list(islice(positions, piece)), []))
    return in_order(make_items, jobs, workers)


def _write_tar(
    path: Path,
    spec: DataSetSpec,
    shard: int,
    items: Iterator[tuple[str, bytes, bytes, str]],
    tell: Callable[[int], None],
) -> dict[str, Any]:
    """Writes one shard; returns its index."""
    clips = []
    with path.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for number, _ in enumerate(spec.span(shard)):
                name, png, body, digest = next(items)
                for suffix, data in ((".json", body), (".png", png)):
                    info = tarfile.TarInfo(name + suffix)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                seen = hashlib.sha256(png).hexdigest()
                clips.append({"name": name, "fingerprint": digest, "png_sha256": seen, **parse_json(body)})
                tell(number + 1)
        file.flush()
        os.fsync(file.fileno())
    return {"file": f"{_stem(shard)}.tar", "bytes": path.stat().st_size, "sha256": sha256(path), "clips": clips}


def _write_index(out: Path, spec: DataSetSpec) -> Path:
    shards, total = [], hashlib.sha256()
    contacts = 0
    for shard in range(spec.shards):
        index = read_json(out / f"{_stem(shard)}.json", "the shard vanished")
        touched = sum(clip["contact"] for clip in index["clips"])
        contacts += touched
        for clip in index["clips"]:
            total.update(clip["fingerprint"].encode())
        shards.append({key: index[key] for key in ("file", "bytes", "sha256")})
        labels = f"{_stem(shard)}.json"
        shards[-1].update(clips=len(index["clips"]), contacts=touched, index=labels, index_sha256=sha256(out / labels))
    body = {**spec.to_json(), "contacts": contacts, "fingerprint": total.hexdigest(), "shards": shards}
    write_json(out / "index.json", body)
    return out / "index.json"


def _stem(shard: int) -> str:
    return f"shard-{shard:05d}"


def _complete(out: Path, spec: DataSetSpec, shard: int) -> bool:
    """Whether a shard is there, whole: its index is written after it and has its checksum."""
    tar, index = out / f"{_stem(shard)}.tar", out / f"{_stem(shard)}.json"
    try:
        body = parse_json(index.read_bytes())
        names = [clip["name"] for clip in body["clips"]]
        whole = tar.stat().st_size == body["bytes"] and sha256(tar) == body["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return whole and names == [spec.name(position) for position in spec.span(shard)]


@contextmanager
def _claimed(out: Path, spec: DataSetSpec) -> Iterator[None]:
    """Makes the folder ours: empty, or a data set of the same spec, and no other run in it."""
    path = out / "dataset.json"
    if out.exists() and not out.is_dir():
        raise SimulationError(f"{out} is a file, not a folder.")
    if path.exists():
        there = {"start": 0, **read_json(path, "it is damaged")}
        asked = spec.to_json()
        different = [key for key in asked if there.get(key) != asked[key]]
        grows = different == ["clips"] and isinstance(there["clips"], int) and there["clips"] < asked["clips"]
        if different == ["clips"] and not grows:
            raise SimulationError(f"{out} is to hold {there['clips']} clips: it can be extended, but not made shorter.")
        if different and not grows:
            changes = ", ".join(f"{key} {there.get(key)!r}, not {asked[key]!r}" for key in different)
            raise SimulationError(f"{out} holds another data set ({changes}): choose another folder.")
    elif out.is_dir() and any(item.name != "dataset.lock" and item.suffix != ".partial" for item in out.iterdir()):
        raise SimulationError(f"{out} is not empty and is not a data set: choose another folder.")
    new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with (out / "dataset.lock").open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise SimulationError(f"Another run is writing to {out}.") from None
        for left in out.glob(".*.partial"):
            left.unlink()
        try:
            yield
        except SimulationError:
            if new and not path.exists():
                shutil.rmtree(out)
            raise
    (out / "dataset.lock").unlink(missing_ok=True)


def _begin(out: Path, spec: DataSetSpec) -> None:
    """Writes down what is made, once it is clear that it can be."""
    path, body = out / "dataset.json", spec.to_json()
    if not path.exists() or read_json(path, "it is damaged").get("clips") != spec.clips:
        # While it grows it is not finished.
        (out / "index.json").unlink(missing_ok=True)
        write_json(path, body)


def _check_space(out: Path, spec: DataSetSpec, clips: int) -> None:
    """Raises SimulationError if the rest will not fit, judging by one clip of each scenario."""
    if not clips:
        return
    some = [make_item(spec, spec.start + n) for n in range(min(len(spec.scenarios), spec.clips))]
    # A tar rounds each file up to 512 bytes and adds a header as long; the index has the JSON once more.
    each = sum(len(png) + 2 * len(body) + 2048 for _, png, body, _ in some) / len(some)
    need = int(clips * each * RESERVE)
    free = shutil.disk_usage(out).free
    if need > free:
        raise SimulationError(f"{clips} clips need about {_size(need)} in {out}, and {_size(free)} are free.")


def _size(count: float) -> str:
    unit = "kB"
    for unit in ("kB", "MB", "GB", "TB"):  # noqa: B007 (the unit that fits is used below)
        count /= 1000
        if count < 1000:
            break
    return f"{count:.1f} {unit}"
