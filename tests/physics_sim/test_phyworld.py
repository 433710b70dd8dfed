"""PhyWorld's format: what is written is what its own code would read; damaged files are one sentence."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import physics_sim
from physics_sim import cli, mp4, phyworld
from physics_sim.errors import SimulationError

h5py = pytest.importorskip("h5py")
SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phyworld")
    for law in phyworld.FILES:
        phyworld.write(out, phyworld.FileSpec(law, "train", 3, size=SIZE))
    return out


@pytest.mark.parametrize("law", phyworld.FILES)
def test_what_is_written_is_what_was_simulated(law: str, folder: Path) -> None:
    with phyworld.File(folder / f"{phyworld.FILES[law]}_train.hdf5") as file:
        clips = list(file.clips())
        assert len(file) == len(clips) == 3 and file.facts["split"] == "train" and file.facts["seed"] == 0
    for index, clip in enumerate(clips):
        truth = physics_sim.make_clip(law, "train", index, world="phyworld")
        roles = [body.role for body in truth.bodies]
        order = [roles.index(role) for role in ("agent", "patient") if role in roles]
        assert clip.name == f"00000/{index}" and clip.frames.shape == (32, SIZE, SIZE, 3)
        assert np.array_equal(clip.position, truth.position[:, order])
        assert clip.radii == tuple(truth.bodies[place].shape["radius"] for place in order)
        assert clip.init[len(order) :] == tuple(abs(truth.velocity[0, place, 0]) for place in order)
        assert clip.times[:2].tolist() == pytest.approx([0.01, 0.11])
        assert clip.split == ("dropped" if law == "collision" and min(clip.radii) <= 0.5 else "in")


def test_its_own_thresholds_find_the_balls(folder: Path) -> None:
    """As its evaluate.py does: upside down, red or blue by thresholds at 127, the mean index by the size times 10."""
    for law, path in phyworld.FILES.items():
        clip = phyworld.read_clip(f"{folder / path}_train.hdf5#00000/1")
        frames = clip.frames[:, ::-1]
        for ball in range(clip.position.shape[1]):
            own, other = (0, 2) if ball == 0 else (2, 0)
            seen = (frames[..., own] > 127) & (frames[..., 1] < 127) & (frames[..., other] < 127)
            radius = clip.radii[ball]
            whole = ((clip.position[:, ball] > radius) & (clip.position[:, ball] < 10 - radius)).all(axis=1)
            assert whole.sum() >= 8, law
            for time in np.flatnonzero(whole):
                y, x = (np.mean(index) for index in np.nonzero(seen[time]))
                # The mean index counts from the first pixel's centre.
                found = (np.array([x, y]) + 0.5) / SIZE * 10
                assert np.abs(found - clip.position[time, ball]).max() < 0.08


def test_the_same_settings_give_the_same_bytes_whatever_the_workers(folder: Path, tmp_path: Path) -> None:
    spec = phyworld.FileSpec("uniform", "train", 3, size=SIZE)
    path = phyworld.write(tmp_path, spec, workers=2)
    with h5py.File(path) as one, h5py.File(folder / path.name) as other:
        for group in phyworld.GROUPS:
            for a, b in zip(one[group]["00000"], other[group]["00000"], strict=True):
                assert np.array_equal(a, b)
    before = path.stat().st_mtime_ns
    assert phyworld.write(tmp_path, spec) == path and path.stat().st_mtime_ns == before
    with pytest.raises(SimulationError, match="holds something else"):
        phyworld.write(tmp_path, phyworld.FileSpec("uniform", "train", 2, size=SIZE))


@pytest.mark.parametrize(
    ("init", "split"),
    [
        ((1.0, 2.0), "in"),
        ((0.7, 1.0), "in"),
        ((1.5, 2.0), "out_radius"),
        ((0.65, 2.0), "out_radius"),
        ((1.0, 0.5), "out_speed"),
        ((1.7, 5.0), "out_both"),
        ((1.0, 0.0), "still"),
        ((0.59, 2.0), "dropped"),
        ((1.0, 2.0, 1), "in"),
        ((0.6, 1.5, 1.0, 4.0), "in"),
        ((0.5, 1.5, 1.0, 4.0), "dropped"),
        ((0.6, 1.7, 1.0, 4.0), "out_radius"),
        ((0.6, 1.5, 1.0, 5.0), "out_speed"),
        ((0.6, 1.7, 0.0, 4.0), "still"),
        ((0.6, 1.7, 0.5, 4.0), "out_both"),
    ],
)
def test_splits_are_those_of_its_filters(init: tuple[float, ...], split: str) -> None:
    assert phyworld.split_of(init) == split


def test_clips_of_a_split_and_from_a_number_on(tmp_path: Path) -> None:
    path = phyworld.write(tmp_path, phyworld.FileSpec("uniform", "ood_speed", 4, size=32))
    with phyworld.File(path) as file:
        assert [clip.name for clip in file.clips(start=2)] == ["00000/2", "00000/3"]
        assert len(list(file.clips(split="out_speed"))) == 4 and not list(file.names("in"))
        assert next(file.clips()).frames_at(16).shape == (32, 16, 16, 3)
        with pytest.raises(SimulationError, match="no split 'train'; there are in"):
            next(file.clips(split="train"))


def break_stream(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        video = file["video_streams"]["00000"]
        video[1] = video[1][: len(video[1]) // 2]


def without(path: Path, group: str) -> None:
    with h5py.File(path, "r+") as file:
        del file[group]


def put(path: Path, group: str, values: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[group]["00000"]
        if values is not None:
            file[group]["00000"] = values


def combine(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.create_group("action_streams")


def link(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["init_streams"]
        file["init_streams"] = h5py.ExternalLink("/etc/other.hdf5", "/")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (cut, "no HDF5 file, or it was cut"),
    "no HDF5": (lambda path: path.write_text("videos") and None, "no HDF5 file"),
    "no videos": (lambda path: without(path, "video_streams"), "lacks the group video_streams"),
    "combinatorial": (combine, "combinatorial sets"),
    "other positions": (lambda path: put(path, "position_streams", np.zeros((3, 32))), "has not PhyWorld's layout"),
    "fewer states": (lambda path: put(path, "init_streams", np.zeros((2, 2))), "has not PhyWorld's layout"),
    "videos as numbers": (lambda path: put(path, "video_streams", np.zeros(3)), "has not PhyWorld's layout"),
    "a batch without positions": (lambda path: put(path, "position_streams", None), "00000 is not a data set in each"),
    "a link to elsewhere": (link, "lacks the group init_streams"),
    "a broken stream": (break_stream, "#00000/1: its MP4 stream is broken"),
    "not numbers": (
        lambda path: put(path, "position_streams", np.full((3, 32, 2), np.nan)),
        "#00000/0: its states are not all numbers",
    ),
    "more states than frames": (
        lambda path: put(path, "position_streams", np.zeros((3, 40, 2))),
        "it has 32 frames, and there are 40 states",
    ),
    "fewer states than frames": (
        lambda path: put(path, "position_streams", np.zeros((3, 30, 2))),
        "it has more frames",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_one_sentence(kind: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.hdf5"
    shutil.copy(folder / "uniform_motion_train.hdf5", path)
    damage, message = DAMAGE[kind]
    damage(path)
    with pytest.raises(SimulationError, match=message), phyworld.File(path) as file:
        list(file.clips())


def test_single_bad_clips_are_named_and_left_out(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.hdf5"
    shutil.copy(folder / "parabola_train.hdf5", path)
    break_stream(path)
    told: list[str] = []
    with phyworld.File(path) as file:
        assert [clip.name for clip in file.clips(on_bad=told.append)] == ["00000/0", "00000/2"]
    assert len(told) == 1 and "#00000/1" in told[0]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("uniform_motion_train.hdf5", "does not say which clip"),
        ("uniform_motion_train.hdf5#00000/3", "no clip '00000/3': names go from 00000/0 to 00000/2"),
        ("uniform_motion_train.hdf5#00001/0", "no clip"),
        ("uniform_motion_train.hdf5#00000/-1", "no clip"),
        ("nothing.hdf5#00000/0", "no file"),
    ],
)
def test_addresses_that_are_none(address: str, message: str, folder: Path) -> None:
    with pytest.raises(SimulationError, match=message):
        phyworld.read_clip(f"{folder}/{address}")


def test_mp4_keeps_frames_and_refuses_what_is_none() -> None:
    frames = physics_sim.make_clip("collide", size=64).frames
    stream = mp4.encode(frames)
    assert stream == mp4.encode(frames)
    assert np.abs(mp4.decode(stream, 16).astype(int) - frames).mean() < 3
    for bad in (b"", b"no video", stream[:100]):
        with pytest.raises(ValueError, match=r"\w"):
            mp4.decode(bad, 16)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def call(*arguments: str) -> int:
        command = ["simulate", "--format", "phyworld", "--out", str(tmp_path / "out"), *arguments]
        try:
            cli.run(cli.cli, command)
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    for arguments, message in (
        (("--shard", "4"), "--shard does nothing with --format phyworld"),
        (("--world", "2"), "clips of the world phyworld, not of 2"),
        (("--scenario", "collide"), "collide"),
        (("--size", "63"), "must be even"),
        (("--split", "combinations"), "None of the laws has the split"),
    ):
        assert call(*arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert call("--clips", "4", "--size", "32") == 0
    assert "data.source=phyworld" in capsys.readouterr().out
    found = {path.name: len(phyworld.File(path)) for path in (tmp_path / "out").iterdir()}
    assert found == {"uniform_motion_train.hdf5": 2, "parabola_train.hdf5": 1, "collision_train.hdf5": 1}
