"""`vdt-mlx sample --input`: distances where objects can be followed, and what is said where they cannot."""

import json
from functools import partial

import numpy as np
import pytest

from vdt_mlx.media.video import write_npz, write_png


@pytest.fixture
def sample(typed, tiny_checkpoint):
    return partial(typed, "sample", "--model", tiny_checkpoint)


def film(colour: tuple[int, int, int]) -> np.ndarray:
    frames = np.full((16, 64, 64, 3), 200, np.uint8)
    for t, frame in enumerate(frames):
        frame[20:28, 2 * t : 2 * t + 8] = colour
    return frames


def test_the_simulators_colours_are_found_by_themselves(sample, tmp_path) -> None:
    write_npz(tmp_path / "red.npz", frames=film((220, 50, 47)))
    metrics = json.loads(sample("--input", "red.npz", "--json")[1])["metrics"]
    assert metrics["objects"] == ["agent"]
    assert metrics["pair_error_copy_last"] == pytest.approx(2 * np.mean(np.arange(1, 9)), abs=0.01)
    assert metrics["pair_error"] > 0


def test_colours_and_maps(sample, tmp_path) -> None:
    write_npz(tmp_path / "green.npz", frames=film((60, 180, 90)))
    status, out, _ = sample("--input", "green.npz")
    assert status == 0 and "pair error" not in out and "PSNR" in out
    status, out, _ = sample("--input", "green.npz", "--colours", "ball=#3cb45a")
    assert status == 0 and "generated ball" in out and "it is there in" in out
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[20:28, :8] = (255, 0, 0)
    write_png(tmp_path / "map.png", picture)
    assert "generated agent" in sample("--input", "green.npz", "--map", "map.png")[1]
    write_npz(tmp_path / "start.npz", frames=film((60, 180, 90))[:8])
    status, out, err = sample("--input", "start.npz", "--colours", "ball=#3cb45a")
    assert status == 0 and "ends too early" in err and "pair error" not in out


def test_a_clip_in_a_file_of_phyworld(sample, tmp_path) -> None:
    from physics_sim import phyworld

    phyworld.write(tmp_path, phyworld.FileSpec("uniform", "train", 1, size=64, frames=16))
    status, out, err = sample("--input", "uniform_motion_train.hdf5#00000/0", "--json")
    assert status == 0, err
    assert json.loads(out)["metrics"]["objects"] == ["agent"]
    assert "00000" in sample("--input", "uniform_motion_train.hdf5#00000/7")[2]
    first = phyworld.read_clip("uniform_motion_train.hdf5#00000/0").frames[0]
    ball = np.linalg.norm(first.astype(float) - phyworld.COLOURS["agent"], axis=-1) < 60
    write_png(tmp_path / "map.png", np.where(ball[..., None], np.uint8((255, 0, 0)), np.uint8(0)))
    status, out, err = sample("--input", "uniform_motion_train.hdf5#00000/0", "--map", "map.png")
    assert status == 0 and "generated agent" in out, err


BAD = {
    "colours would do nothing": ["--colours", "a=#000000"],
    "--map would do nothing": ["--map", "x.png"],
    "--map tells the colours": ["--input", "green.npz", "--map", "x.png", "--colours", "a=#000000"],
    "do not fit": ["--input", "green.npz", "--colours", "green"],
    "cannot be followed": ["--input", "green.npz", "--colours", "a=#0000ff"],
    "x.png": ["--input", "green.npz", "--map", "x.png"],
}


@pytest.mark.parametrize(("sentence", "arguments"), BAD.items())
def test_bad_input_is_one_sentence(sample, tmp_path, sentence, arguments) -> None:
    write_npz(tmp_path / "green.npz", frames=film((60, 180, 90)))
    status, out, err = sample(*arguments)
    assert status == 2 and out == ""
    assert sentence in err.splitlines()[-1]
