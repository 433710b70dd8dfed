"""Data sets: exact, the same whatever happens on the way, and never mixed up with something else."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

import physics_sim
from physics_sim import dataset
from physics_sim.errors import SimulationError

SMALL = dataset.DataSetSpec(("uniform", "collide"), "train", 14, shard=6, size=32)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    dataset.write(folder, SMALL)
    return folder


def test_what_is_written_is_what_was_simulated(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == [
        "dataset.json",
        "index.json",
        *(f"shard-0000{n}.{kind}" for n in range(3) for kind in ("json", "tar")),
    ]
    clips = list(physics_sim.open_dataset(made))
    assert len(clips) == 14
    for position, (frames, metadata) in enumerate(clips):
        clip = physics_sim.make_clip(SMALL.scenarios[position % 2], "train", position // 2, size=32)
        assert (frames == clip.frames).all()
        assert metadata == json.loads(json.dumps(clip.metadata()))
    index = json.loads((made / "index.json").read_text())
    assert [shard["clips"] for shard in index["shards"]] == [6, 6, 2]
    assert index["contacts"] == sum(metadata["contact"] for _, metadata in clips)
    states = clips[1][1]["states"]
    assert np.array(states["position"]).shape == (16, len(clips[1][1]["bodies"]), 2)


def test_anyone_can_open_a_shard(made: Path) -> None:
    with tarfile.open(made / "shard-00000.tar") as tar:
        names = tar.getnames()
    assert names[:4] == [
        f"{name}-train-000000{suffix}" for name in ("uniform", "collide") for suffix in (".json", ".png")
    ]
    shard = json.loads((made / "shard-00001.json").read_text())
    assert [clip["name"] for clip in shard["clips"]][:2] == ["uniform-train-000003", "collide-train-000003"]
    assert shard["bytes"] == (made / "shard-00001.tar").stat().st_size


def test_workers_and_a_second_run_change_nothing(made: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    dataset.write(tmp_path / "two", SMALL, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert bytes_of(tmp_path / "two") == bytes_of(made)
    assert seen == [(n + 1, 14) for n in range(14)]
    dataset.write(tmp_path / "two", SMALL, progress=lambda done, total: pytest.fail("made a clip again"))
    assert bytes_of(tmp_path / "two") == bytes_of(made)


def test_damaged_and_missing_shards_are_made_again(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    tar = copy / "shard-00001.tar"
    tar.write_bytes(tar.read_bytes()[:1000])
    (copy / "shard-00002.json").write_text("{")
    (copy / "index.json").unlink()
    dataset.write(copy, SMALL)
    assert bytes_of(copy) == bytes_of(made)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(made: Path, tmp_path: Path) -> None:
    command = ["simulate", "--scenario", "uniform,collide", "--clips", "14", "--shard", "6", "--size", "32", "--out"]
    rng = random.Random(0)
    for trial in range(5):
        out = tmp_path / f"killed-{trial}"
        for _ in range(3):
            run = subprocess.Popen([sys.executable, "-m", "physics_sim", *command, out], stdout=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.2, 0.9))
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
        subprocess.run([sys.executable, "-m", "physics_sim", *command, out], check=True, stdout=subprocess.DEVNULL)
        assert bytes_of(out) == bytes_of(made)


def test_a_full_disk_keeps_what_is_complete(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = dataset._write_tar, []

    def full(path, settings, shard, items, tell):  # type: ignore[no-untyped-def]
        calls.append(shard)
        index = real(path, settings, shard, items, tell)
        if shard == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return index

    monkeypatch.setattr(dataset, "_write_tar", full)
    with pytest.raises(SimulationError, match="disk is full"):
        dataset.write(tmp_path / "set", SMALL)
    assert sorted(bytes_of(tmp_path / "set")) == ["dataset.json", "dataset.lock", "shard-00000.json", "shard-00000.tar"]
    monkeypatch.setattr(dataset, "_write_tar", real)
    dataset.write(tmp_path / "set", SMALL)
    assert bytes_of(tmp_path / "set") == bytes_of(made)


def test_a_disk_too_small_is_seen_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(dataset.shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 9000, 9000))
    with pytest.raises(SimulationError, match=r"14 clips need about .* kB in .*, and 9.0 kB are free"):
        dataset.write(tmp_path / "set", SMALL)


def test_folders_with_something_else(made: Path, tmp_path: Path) -> None:
    before = bytes_of(made)
    other = dataset.DataSetSpec(("uniform", "collide"), "train", 14, seed=1, shard=6, size=32)
    with pytest.raises(SimulationError, match=r"another data set .seed 0, not 1."):
        dataset.write(made, other)
    assert bytes_of(made) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SimulationError, match="not empty"):
        dataset.write(tmp_path, SMALL)
    with pytest.raises(SimulationError, match="a file"):
        dataset.write(tmp_path / "notes.txt", SMALL)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(SimulationError, match="not a data set"):
        next(physics_sim.open_dataset(tmp_path))


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with dataset._claimed(tmp_path / "set", SMALL), pytest.raises(SimulationError, match="Another run"):
        dataset.write(tmp_path / "set", SMALL)


def test_a_damaged_shard_is_named(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    (copy / "shard-00000.tar").write_bytes(b"not a tar at all" * 100)
    with pytest.raises(SimulationError, match=r"shard-00000.tar cannot be read"):
        list(physics_sim.open_dataset(copy))


@pytest.mark.parametrize(
    "changes", [{"clips": 0}, {"shard": -1}, {"scenarios": ()}, {"scenarios": ("roll", "roll")}, {"size": 10**5}]
)
def test_settings_that_cannot_be(changes: dict) -> None:
    with pytest.raises(SimulationError):
        dataset.DataSetSpec(**{"scenarios": ("roll",), "split": "train", "clips": 4, **changes})
    with pytest.raises(SimulationError, match="workers"):
        dataset.write("nowhere", SMALL, workers=0)
