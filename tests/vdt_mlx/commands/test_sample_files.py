"""`vdt-mlx sample` and the files that it reads and writes: only what is needed, nothing lost."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from vdt_mlx.media import video


def moving(frames: int, side: int = 64) -> np.ndarray:
    clip = np.full((frames, side, side, 3), 235, np.uint8)
    for index in range(frames):
        clip[index, 20:36, 2 * index : 2 * index + 16] = 220, 50, 47
    return clip


@pytest.fixture
def sample(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """Runs `vdt-mlx sample --model TINY ... --json`: (exit status, result or None, standard error)."""
    from vdt_mlx import cli

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object):
        with pytest.raises(SystemExit) as ended:
            command = ["sample", "--model", tiny_checkpoint, "--format", "npz", "--json", *arguments]
            cli.run(cli.vdt_mlx, args=[str(argument) for argument in command])
        out, err = capsys.readouterr()
        return ended.value.code, json.loads(out) if ended.value.code == 0 else None, err

    return run


TASKS = {
    "predict": (["--task", "predict", "--given", 3], 3),
    "backward": (["--task", "backward", "--given", 2], 2),
    "single-frame": (["--task", "single-frame"], 1),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_file_of_just_the_given_frames_is_enough(sample, tmp_path, task, caplog) -> None:
    arguments, count = TASKS[task]
    folder = tmp_path / "given"
    video.write_pngs(folder, moving(count))
    source = folder / "000.png" if task == "single-frame" else folder
    status, result, err = sample(*arguments, "--input", source, "--out", "a")
    assert status == 0, err
    assert result["metrics"] == {}
    arrays = np.load("a/sample.npz")
    assert set(arrays.files) == {"samples", "mask"}
    given = np.flatnonzero(arrays["mask"].max(axis=(1, 2)) == 0)
    assert len(given) == count
    assert np.array_equal(arrays["samples"][0, given], moving(count))
    assert "taken as the given ones" in caplog.text or task == "predict"


def test_a_longer_file_is_a_truth_as_far_as_it_goes(sample) -> None:
    video.write_npz("long.npz", frames=moving(20))
    video.write_npz("short.npz", frames=moving(10))
    status, result, _ = sample("--input", "long.npz", "--given", 3, "--out", "a")
    assert status == 0 and "psnr" in result["metrics"]
    status, result, err = sample("--input", "short.npz", "--given", 12, "--out", "b")
    assert status == 2 and "12 are needed" in err


def test_two_samples_never_overwrite_each_other(sample, tmp_path) -> None:
    first = [sample("--out", "a", "--seed", seed)[1]["outputs"]["npz"] for seed in (0, 1, 2)]
    assert first == ["a/sample.npz", "a-2/sample.npz", "a-3/sample.npz"]
    before = (tmp_path / "a-2" / "sample.npz").read_bytes()
    (tmp_path / "a" / "notes.txt").write_text("mine")
    status, _, _ = sample("--out", "a", "--seed", 9, "--force", "--format", "gif")
    assert status == 0
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        *("notes.txt", "sample.gif", "contact_sheet.png", "sample.json")
    }
    assert json.loads((tmp_path / "a" / "sample.json").read_text())["settings"]["seed"] == 9
    assert (tmp_path / "a-2" / "sample.npz").read_bytes() == before


def test_a_failure_while_writing_leaves_the_old_sample_whole(sample, tmp_path, monkeypatch) -> None:
    sample("--out", "a")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video, "write_npz", full)
    status, _, err = sample("--out", "a", "--seed", 5, "--force")
    assert status == 2 and "disk is full" in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


def test_crop_is_said_and_other_fits_are_chosen(sample, caplog) -> None:
    wide = np.full((16, 40, 80, 3), 235, np.uint8)
    wide[:, :, :10] = 0
    video.write_npz("wide.npz", frames=wide)
    for fit, corner, middle in (("crop", 235, 235), ("pad", 0, 0), ("stretch", 0, 0)):
        caplog.clear()
        status, _, _ = sample("--input", "wide.npz", "--fit", fit, "--out", fit)
        assert status == 0
        truth = np.load(f"{fit}/sample.npz")["truth"]
        assert truth[0, 0, 0, 0] == corner and truth[0, 32, 2, 0] == middle
        assert ("middle 40 x 40 is used" in caplog.text) == (fit == "crop")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", 2**64 - 1],
        ["--seed", 2**64],
        ["--scene-seed", 2**64],
        ["--steps", 10**20],
        ["--samples", 10**20],
        ["--frames", 10**20],
        ["--input", "a.gif", "--start", 10**20],
        ["--input", "a.gif", "--stride", 10**20],
        ["--input", "a.gif", "--start", 10**9],
        ["--out", "caf\udce9"],
        ["--out", "~nobody9/x"],
        ["--input", "~nobody9/x"],
    ],
    ids=str,
)
def test_absurd_numbers_and_paths_are_a_sentence(sample, arguments) -> None:
    Image.fromarray(moving(1)[0]).save("a.gif")
    status, _, err = sample(*arguments)
    assert status == 2
    assert "Traceback" not in err and len(err) < 600


def test_home_is_expanded_everywhere(sample, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    video.write_npz(tmp_path / "home" / "a.npz", frames=moving(16))
    status, _, _ = sample("--input=~/a.npz", "--out=~/res")
    assert status == 0
    assert (tmp_path / "home" / "res" / "sample.json").is_file()
    assert not (tmp_path / "~").exists()


def test_a_bad_ffmpeg_is_noticed_before_the_work(sample, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    status, _, err = sample("--format", "gif,mp4", "--out", "a")
    assert status == 2 and "IMAGEIO_FFMPEG_EXE" in err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("training", "warns"),
    [({"reconstruction_psnr": 60.0}, True), ({"reconstruction_psnr": 3.0}, False), ({}, False), (None, False)]
    + [({"reconstruction_psnr": value}, False) for value in ("60", None, True, -1, 1e9, [60])],
)
def test_a_clip_unlike_those_of_the_training_is_said(training, warns, tiny_checkpoint, sample, tmp_path) -> None:
    """Whatever the checkpoint was trained on, if it says how well its autoencoder shows that."""
    folder = tmp_path / "told"
    shutil.copytree(tiny_checkpoint, folder)
    body = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**body, "training": training}))
    video.write_npz(tmp_path / "clip.npz", frames=moving(16))
    status, _, err = sample("--model", folder, "--input", "clip.npz", "--steps", "1")
    assert status == 0
    assert ("is unlike what this model was trained on" in err) == warns
