"""Training on PhyWorld's files."""

from pathlib import Path

import numpy as np
import pytest

from vdt_mlx.errors import VDTError
from vdt_mlx.training.config import DataConfig
from vdt_mlx.training.data import build_source

pytest.importorskip("h5py")


def settings(path: Path, **changes) -> DataConfig:
    return DataConfig(**{"source": "phyworld", "path": str(path), "size": (32, 32), "frames": 16, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from physics_sim import phyworld

    out = tmp_path_factory.mktemp("phyworld")
    for law in ("uniform", "collision"):
        phyworld.write(out, phyworld.FileSpec(law, "val", 3, seed=4, size=64))
    return out


def test_clips_are_those_of_the_files_in_order(folder):
    from physics_sim import phyworld

    source = build_source(settings(folder))
    clips = list(source.clips(0))
    assert len(clips) == 6 and all(clip.shape == (16, 32, 32, 3) and clip.dtype == np.uint8 for clip in clips)
    first = phyworld.read_clip(f"{folder}/collision_val.hdf5#00000/0")
    assert np.array_equal(clips[0], first.frames_at(32)[:16])
    assert np.array_equal(next(source.clips(4)), clips[4])
    assert source.told() == {"split": "unknown", "seed": "unknown"}, "two files of two laws"
    one = build_source(settings(folder / "uniform_val.hdf5".replace("uniform", "uniform_motion")))
    assert len(list(one.clips(0))) == 3 and one.told() == {"split": "val", "seed": 4}
    assert one.identity() != source.identity() == build_source(settings(folder)).identity()


def test_bad_clips_are_named_and_left_out(folder, tmp_path, capsys):
    import h5py

    path = tmp_path / "a.hdf5"
    path.write_bytes((folder / "uniform_motion_val.hdf5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["video_streams"]["00000"][1] = np.frombuffer(b"no video", np.uint8)
    assert len(list(build_source(settings(path)).clips(0))) == 2
    assert "#00000/1: its MP4 stream is broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 40}, "have 32 frames; data asks for 40"),
        ({"size": (32, 64)}, "square"),
        ({"path": "nowhere"}, "no file"),
    ],
)
def test_what_does_not_fit(folder, changes, message):
    with pytest.raises(VDTError, match=message):
        list(build_source(settings(**{"path": folder, **changes})).clips(0))


def test_a_file_that_is_cut(folder, tmp_path):
    path = tmp_path / "a.hdf5"
    path.write_bytes((folder / "uniform_motion_val.hdf5").read_bytes()[:5000])
    with pytest.raises(VDTError, match="cut"):
        list(build_source(settings(path)).clips(0))
