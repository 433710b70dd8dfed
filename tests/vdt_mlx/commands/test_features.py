"""`vdt-mlx features` from the outside: what it writes, what it leaves out, what it refuses."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from vdt_mlx.media import video


@pytest.fixture
def features(typed, tiny_checkpoint):
    """Runs `vdt-mlx features --model TINY ...`; see `typed`."""
    return partial(typed, "features", "--model", tiny_checkpoint)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """A folder with two clips of 16 frames, one that is too short and one that is no video."""
    folder = tmp_path_factory.mktemp("films") / "clips"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3)).astype(np.uint8)
    video.write_npz(folder / "a.npz", frames=frames)
    video.write_npz(folder / "b.npz", frames=frames[::-1])
    video.write_npz(folder / "short.npz", frames=frames[:3])
    (folder / "z.gif").write_bytes(b"no picture")
    return folder


def test_a_folder_with_bad_clips(features, films) -> None:
    status, out, err = features(films)
    assert status == 0
    assert "clips:    2, 2 left out" in out
    assert out.splitlines()[-1].startswith("Next:")
    assert "short.npz" in err and "z.gif" in err
    with np.load("vdt-out/features-clips.npz") as arrays:
        assert arrays["features"].shape == (2, 16, 32)
        assert arrays["features"].dtype == np.float32
        assert arrays["names"].tolist() == ["a.npz", "b.npz"]
        settings = json.loads(str(arrays["settings"]))
    assert (settings["block"], settings["timestep"], settings["given"]) == ("blocks.0", 250.0, 8)


def test_a_file_that_stands_there_stays(features, films) -> None:
    features(films / "a.npz", "--out", "f.npz")
    before = Path("f.npz").read_bytes()
    body = json.loads(features(films / "a.npz", "--out", "f.npz", "--json", "--seed", "4")[1])
    assert body["features"] == "f-2.npz"
    assert Path("f.npz").read_bytes() == before
    features(films / "a.npz", "--out", "f-2.npz", "--force")
    assert Path("f-2.npz").read_bytes() == before  # the same settings, the same bytes


def test_a_data_set_and_a_file_of_phyworld(features, tmp_path) -> None:
    import physics_sim
    from physics_sim import phyworld
    from physics_sim.dataset import DataSetSpec, write

    write(tmp_path / "data", DataSetSpec(("collide",), "train", clips=2))
    body = json.loads(features("data", "--json", "--clips", 1)[1])
    assert body["shape"] == [1, 16, 32]
    first = physics_sim.make_clip("collide", "train", 0).frames
    video.write_npz(tmp_path / "one.npz", frames=first)
    features("one.npz")
    with np.load("vdt-out/features-one.npz") as one, np.load("vdt-out/features-data.npz") as data:
        assert (one["features"] == data["features"]).all()
        assert data["names"].tolist() == ["collide-train-0"]
    path = phyworld.write(tmp_path, phyworld.FileSpec("uniform", "train", 1, size=64, frames=16))
    assert json.loads(features(path, "--json")[1])["shape"] == [1, 16, 32]


def test_blocks_are_listed(features) -> None:
    status, out, _ = features("--list-blocks")
    assert status == 0
    assert "blocks.0 " in out and "16 x 16 x 32" in out and out.splitlines()[-1].startswith("Next:")
    assert json.loads(features("--list-blocks", "--part", "autoencoder", "--json")[1])["latents"] == [1, 8, 8, 4]


BAD = {
    "There is no file": ["nowhere"],
    "Say which clips": [],
    "x_embedder": ["FILMS", "--block", "attention"],
    "None of the 2 clips": ["FILMS/short", "--start", "14"],
    "is no npz": ["FILMS", "--out", "x.json"],
    "is a folder": ["FILMS", "--out", "folder.npz"],
    "would do nothing": ["FILMS", "--part", "autoencoder", "--given", "3"],
    "--timestep would do nothing": ["FILMS", "--blind", "--timestep", "3"],
    "INPUT would do nothing": ["FILMS", "--list-blocks"],
    "--force replaces": ["FILMS", "--force"],
    "--stride 0": ["FILMS", "--stride", "0"],
    "too few frames": ["FILMS/short.npz"],
    "holds no clips": ["empty"],
}


@pytest.mark.parametrize(("sentence", "arguments"), BAD.items())
def test_bad_input_is_one_sentence(features, films, tmp_path, sentence, arguments) -> None:
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "empty").mkdir()
    if "FILMS/short" in arguments:
        (tmp_path / "shorts").mkdir()
        for name in ("s", "t"):
            (tmp_path / "shorts" / f"{name}.npz").write_bytes((films / "short.npz").read_bytes())
        arguments = ["shorts", *arguments[1:]]
    status, out, err = features(*(str(a).replace("FILMS", str(films)) for a in arguments))
    assert status == 2
    assert out == ""
    assert sentence in err.splitlines()[-1]
    assert not (tmp_path / "vdt-out").exists()
