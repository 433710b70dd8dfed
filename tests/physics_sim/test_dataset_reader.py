"""What is read back from data sets: exactly what was written, or one sentence."""

import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import physics_sim
from physics_sim import dataset
from physics_sim.errors import SimulationError

SMALL = dataset.DataSetSpec(("uniform", "collide"), "train", 14, shard=6, size=32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    dataset.write(folder, SMALL)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def repack(
    shard: Path, change: Callable[[str, bytes], bytes | None] = lambda name, body: body, front: str = "./"
) -> None:
    """Packs a shard anew, as other tools do: images before labels, other paths, a member that is a folder."""
    with tarfile.open(shard) as tar:
        members = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    with tarfile.open(shard, "w") as tar:
        folder = tarfile.TarInfo(".")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in sorted(members, key=lambda name: (name.partition(".")[0], name.endswith(".json"))):
            body = change(name, members[name])
            if body is not None:
                info = tarfile.TarInfo(front + name)
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))


@pytest.mark.parametrize("name", ["index.json", "shard-00000.tar", "shard-00000.json"])
@pytest.mark.parametrize("kind", ["out", "pipe", "folder", "circle", "nowhere"])
def test_what_is_no_file_of_the_folder_is_refused(kind: str, name: str, copy: Path, tmp_path: Path) -> None:
    """A pipe or a device would never end, and a link may lead anywhere on the disk of whoever reads."""
    path, outside = copy / name, tmp_path / "outside"
    path.replace(outside)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"out": outside, "circle": path, "nowhere": tmp_path / "gone"}[kind])
    with pytest.raises(SimulationError, match=re.escape(name)):
        list(physics_sim.open_dataset(copy))


def test_links_inside_of_a_data_set_and_to_it_are_followed(copy: Path, tmp_path: Path) -> None:
    wanted = clips_of(copy)
    (copy / "shard-00000.tar").rename(copy / ".kept")
    (copy / "shard-00000.tar").symlink_to(".kept")
    (tmp_path / "link").symlink_to(copy, target_is_directory=True)
    assert clips_of(tmp_path / "link") == wanted


@pytest.mark.parametrize("name", ["../shard-00000.tar", "/etc/passwd", "a/../../b", "..", ".", "", "a/b.tar", "x\0y"])
def test_an_index_that_names_files_elsewhere_is_refused(name: str, copy: Path) -> None:
    body = json.loads((copy / "index.json").read_text())
    body["shards"][0]["file"] = name
    (copy / "index.json").write_text(json.dumps(body))
    with pytest.raises(SimulationError, match="does not say which shards there are"):
        list(physics_sim.open_dataset(copy))


@pytest.mark.parametrize("change", [lambda rows: [], lambda rows: rows[:1], lambda rows: rows + rows[:1]])
def test_an_index_that_names_fewer_or_more_shards_is_noticed(change: Callable[[list], list], copy: Path) -> None:
    body = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps({**body, "shards": change(body["shards"])}))
    with pytest.raises(SimulationError, match=r"clips and it says 14|does not say which shards"):
        list(physics_sim.open_dataset(copy))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_members_that_are_no_files_are_no_clips(kind: bytes, copy: Path) -> None:
    shard = copy / "shard-00000.tar"
    repack(shard)
    with tarfile.open(shard) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isreg()}  # type: ignore[union-attr]
    with tarfile.open(shard, "w") as tar:
        for number, (name, body) in enumerate(members.items()):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            if number == 0:
                info.type, info.linkname, info.size = kind, "../../etc/passwd", 0
            tar.addfile(info, io.BytesIO(body))
    with pytest.raises(SimulationError, match="lacks 1 of its"):
        list(physics_sim.open_dataset(copy))


def clips_of(folder: Path) -> dict[str, tuple[bytes, dict]]:
    clips = physics_sim.open_dataset(folder)
    return {f"{body['scenario']}-{body['index']}": (frames.tobytes(), body) for frames, body in clips}


def test_shards_packed_anew_have_the_same_labels(made: Path, copy: Path) -> None:
    repack(copy / "shard-00000.tar")
    repack(copy / "shard-00002.tar", front="some/where/")
    assert clips_of(copy) == clips_of(made)


def cut_at_a_member(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        end = tar.getmembers()[4].offset
    shard.write_bytes(shard.read_bytes()[:end] + bytes(1024))


def other_label(name: str, body: bytes) -> bytes:
    return body.replace(b'"contact":true', b'"contact":false') if name.endswith(".json") else body


def other_frames(name: str, body: bytes) -> bytes:
    if not name.endswith("000001.png"):
        return body
    with Image.open(io.BytesIO(body)) as image:
        pixels = np.asarray(image).copy()
    pixels[3, 3] ^= 1
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut at a member's end": (lambda f: cut_at_a_member(f / "shard-00000.tar"), "lacks 4 of its 6 clips"),
    "cut anywhere": (lambda f: cut(f / "shard-00000.tar"), "shard-00000.tar"),
    "an altered label": (lambda f: repack(f / "shard-00000.tar", other_label), "labels of .* are not those"),
    "altered frames": (lambda f: repack(f / "shard-00000.tar", other_frames), "frames of .*000001 are not those"),
    "a label altered in the index": (
        lambda f: edit(f / "shard-00000.json", '"contact":true', '"contact":false'),
        "shard-00000.json was changed since it was written",
    ),
    "a picture left out": (
        lambda f: repack(f / "shard-00001.tar", lambda name, body: None if "000003.png" in name else body),
        "lacks 2 of its 6",
    ),
    "a shard lost": (lambda f: (f / "shard-00002.tar").unlink(), "shard-00002.tar is missing"),
    "no index": (lambda f: (f / "index.json").unlink(), "not a complete data set: run the command"),
    "an index that is a list": (lambda f: (f / "index.json").write_text("[]"), "not what it should be"),
    "a deep index": (lambda f: (f / "index.json").write_text("[" * 10**5), "cannot be read"),
    "a path in the index": (
        lambda f: edit(f / "index.json", "shard-00001.tar", "../x.tar"),
        "does not say which shards",
    ),
    "a newer format": (lambda f: edit(f / "index.json", '"version": 2', '"version": 9'), "format 9, which is newer"),
    "another's index": (lambda f: (f / "index.json").write_text('{"shards": []}'), "not the index of a simulated"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_not_read(kind: str, copy: Path) -> None:
    damage, message = DAMAGE[kind]
    damage(copy)
    with pytest.raises(SimulationError, match=message):
        list(physics_sim.open_dataset(copy))


def test_strangers_are_said(copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    with pytest.warns(UserWarning, match=r"notes.txt is not part of the data set and left out"):
        assert len(list(physics_sim.open_dataset(copy))) == 14
    (copy / "notes.txt").unlink()
    with tarfile.open(copy / "shard-00000.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("readme.md"))
    with pytest.warns(UserWarning, match=r"shard-00000.tar: readme.md is not part"):
        assert len(list(physics_sim.open_dataset(copy))) == 14


def test_the_index_says_what_the_data_set_is(made: Path) -> None:
    facts = physics_sim.describe_dataset(made)
    assert facts["split"] == "train" and facts["seed"] == 0 and facts["scenarios"] == ["uniform", "collide"]
    assert (facts["clips"], facts["size"], facts["frames"], facts["given"], facts["world"]) == (14, 32, 16, 8, 2)
    with pytest.raises(SimulationError, match="no folder"):
        physics_sim.describe_dataset(made / "nowhere")


def test_a_data_set_is_extended_and_is_then_as_if_made_at_once(made: Path, tmp_path: Path) -> None:
    short = replace(SMALL, clips=8)
    dataset.write(tmp_path / "set", short)
    assert physics_sim.describe_dataset(tmp_path / "set")["clips"] == 8
    fresh: list[int] = []
    dataset.write(tmp_path / "set", SMALL, progress=lambda done, total: fresh.append(done))
    assert bytes_of(tmp_path / "set") == bytes_of(made)
    assert fresh == list(range(7, 15)), "the whole shard was not made again"
    with pytest.raises(SimulationError, match="14 clips: it can be extended, but not made shorter"):
        dataset.write(tmp_path / "set", short)
    assert bytes_of(tmp_path / "set") == bytes_of(made)


def test_a_part_that_begins_elsewhere_is_part_of_the_whole(made: Path, tmp_path: Path) -> None:
    dataset.write(tmp_path / "part", replace(SMALL, start=6, clips=6))
    part, whole = clips_of(tmp_path / "part"), clips_of(made)
    assert len(part) == 6 and all(whole[name] == clip for name, clip in part.items())
    assert physics_sim.describe_dataset(tmp_path / "part")["start"] == 6


def test_a_thousand_million_clips_are_refused_at_once(made: Path, tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(SimulationError, match=r"1000000000 clips need about .* TB"):
        dataset.write(tmp_path / "set", replace(SMALL, clips=10**9))
    assert not (tmp_path / "set").exists()
    shutil.copytree(made, tmp_path / "set")
    with pytest.raises(SimulationError, match="TB"):
        dataset.write(tmp_path / "set", replace(SMALL, clips=10**9))
    assert bytes_of(made).items() <= bytes_of(tmp_path / "set").items(), "nothing of what was there is lost"
    dataset.write(tmp_path / "set", SMALL)
    with pytest.raises(SimulationError, match="clips must be a whole number from 1 to 1000000000"):
        replace(SMALL, clips=10**10)
    assert time.monotonic() - begin < 5


def test_a_set_of_the_first_format_is_read(tmp_path: Path) -> None:
    """As it was written before clips had checksums of their own, and before worlds had names."""
    copy = tmp_path / "copy"
    dataset.write(copy, replace(SMALL, world=1))
    index = json.loads((copy / "index.json").read_text())
    for key in ("world", "frames", "given", "start"):
        index.pop(key)
    for row in index["shards"]:
        row.pop("index_sha256")
        labels = json.loads((copy / row["index"]).read_text())
        for clip in labels["clips"]:
            clip.pop("png_sha256")
        (copy / row["index"]).write_text(json.dumps(labels))
    index["version"] = 1
    (copy / "index.json").write_text(json.dumps(index))
    assert len(list(physics_sim.open_dataset(copy))) == 14
    assert physics_sim.describe_dataset(copy)["world"] == 1
    repack(copy / "shard-00000.tar")
    with pytest.raises(SimulationError, match=r"shard-00000.tar was changed since it was written"):
        list(physics_sim.open_dataset(copy))
