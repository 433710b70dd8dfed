"""Frames in and out, and what is said of files that are no clips."""

import wave

import numpy as np
import pytest
from PIL import Image

from vdt_mlx.errors import VDTError
from vdt_mlx.media import video


def moving_square(frames: int = 20, height: int = 48, width: int = 64) -> np.ndarray:
    clip = np.full((frames, height, width, 3), (240, 240, 235), np.uint8)
    for index in range(frames):
        clip[index, 10:26, index * 2 : index * 2 + 16] = (220, 50, 47)
    return clip


@pytest.fixture
def clips(tmp_path):
    """The same clip in every format: {name: (path, largest error)}."""
    clip = moving_square()
    video.write_gif(tmp_path / "clip.gif", clip, 10)
    video.write_mp4(tmp_path / "clip.mp4", clip, 10)
    video.write_npz(tmp_path / "clip.npz", frames=clip)
    video.write_pngs(tmp_path / "pngs", clip)
    return {
        "gif": (tmp_path / "clip.gif", 0),
        "mp4": (tmp_path / "clip.mp4", 30),
        "npz": (tmp_path / "clip.npz", 0),
        "png": (tmp_path / "pngs", 0),
    }


@pytest.mark.parametrize("kind", ["gif", "mp4", "npz", "png"])
def test_there_and_back(clips, kind) -> None:
    path, tolerance = clips[kind]
    clip = moving_square()
    again = video.read_clip(path, 20, (48, 64))
    error = np.abs(again.astype(int) - clip)
    assert np.percentile(error, 95) <= tolerance
    if tolerance == 0:
        assert error.max() == 0


@pytest.mark.parametrize("kind", ["gif", "mp4", "npz", "png"])
def test_start_and_stride(clips, kind) -> None:
    path, tolerance = clips[kind]
    taken = video.read_clip(path, 5, (48, 64), start=3, stride=4)
    assert np.percentile(np.abs(taken.astype(int) - moving_square()[3::4]), 95) <= tolerance
    with pytest.raises(VDTError, match="too few frames"):
        video.read_clip(path, 6, (48, 64), start=3, stride=4)


def test_fit_crops_the_centre_and_resizes() -> None:
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[:, 20:60] = 255
    for view in (frame, frame.transpose(1, 0, 2)):
        fitted = video.fit(np.ascontiguousarray(view), (20, 20))
        assert (fitted[1:-1, 1:-1] == 255).all()  # the filter may see a little beyond the crop
    assert video.fit(frame, (16, 32)).shape == (16, 32, 3)


def test_images_are_read_in_natural_order(tmp_path) -> None:
    for index in (1, 2, 10):
        Image.new("RGB", (16, 16), (index, 0, 0)).save(tmp_path / f"frame{index}.png")
    assert [frame[0, 0, 0] for frame in video.read_clip(tmp_path, 3, (16, 16))] == [1, 2, 10]


def _audio(path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))


def _cut(kind, keep):
    def make(tmp_path, clips):
        source = clips[kind][0]
        path = tmp_path / f"cut{source.suffix}"
        data = source.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])
        return path

    return make


def _image(size, name):
    def make(tmp_path, clips):
        folder = tmp_path / "folder"
        folder.mkdir()
        for index in range(3):
            Image.new("1", size).save(folder / f"{index}{name}")
        return folder

    return make


def _write(name, data):
    def make(tmp_path, clips):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return make


def _audio_as(name):
    def make(tmp_path, clips):
        _audio(tmp_path / name)
        return tmp_path / name

    return make


def _mixed(tmp_path, clips):
    folder = tmp_path / "mixed"
    folder.mkdir()
    Image.new("RGB", (16, 16)).save(folder / "0.png")
    Image.new("RGB", (18, 16)).save(folder / "1.png")
    return folder


def _npz(**arrays):
    def make(tmp_path, clips):
        np.savez(tmp_path / "x.npz", **arrays)
        return tmp_path / "x.npz"

    return make


BAD = {
    "missing": lambda tmp_path, clips: tmp_path / "nothing.gif",
    "gif cut in a frame": _cut("gif", 0.6),
    "gif without its end": _cut("gif", 0.999),
    "mp4 cut": _cut("mp4", 0.5),
    "npz cut": _cut("npz", 0.5),
    "empty gif": _write("x.gif", b""),
    "empty mp4": _write("x.mp4", b""),
    "text as gif": _write("x.gif", b"hello" * 100),
    "text as png": _write("x.png", b"hello" * 100),
    "text as npz": _write("x.npz", b"hello" * 100),
    "unknown kind": _write("x.xyz", b"hello"),
    "wav": _audio_as("x.wav"),
    "audio in mp4's clothes": _audio_as("x.mp4"),
    "1 x 1": _image((1, 1), ".png"),
    "20000 x 20000": _image((20000, 20000), ".png"),
    "images of two sizes": _mixed,
    "npz of objects": _npz(frames=np.array([{}], dtype=object)),
    "npz of floats": _npz(frames=np.zeros((20, 16, 16, 3))),
    "npz of one frame": _npz(frames=np.zeros((16, 16, 3), np.uint8)),
    "npz without frames": _npz(a=np.zeros(3), b=np.zeros(3)),
    "npz of nothing": _npz(),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, tmp_path, clips) -> None:
    path = BAD[name](tmp_path, clips)
    with pytest.raises(VDTError) as caught:
        video.read_clip(path, 3 if "x" in name or name == "images of two sizes" else 16, (32, 32))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_empty_folder(tmp_path) -> None:
    with pytest.raises(VDTError, match="no images"):
        video.read_clip(tmp_path, 2, (16, 16))


def test_pictures_do_not_replace_a_folder_of_other_things(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(VDTError):
        video.write_pngs(tmp_path, moving_square(2))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_odd_sizes_become_an_mp4(tmp_path) -> None:
    video.write_mp4(tmp_path / "odd.mp4", moving_square(4, 49, 63), 10)
    assert video.read_clip(tmp_path / "odd.mp4", 4, (48, 62)).shape == (4, 48, 62, 3)


CONTENT = {
    "an MP4 or MOV video": b"\0\0\0\x20ftypisom",
    "a Matroska or WebM video": b"\x1aE\xdf\xa3",
    "a GIF": b"GIF89a",
    "a PNG picture": b"\x89PNG\r\n\x1a\n",
    "a zip archive or an npz": b"PK\x03\x04",
    "a HEIC or AVIF picture": b"\0\0\0\x18ftypheic",
}


@pytest.mark.parametrize("kind", CONTENT)
def test_a_name_that_promises_something_else_is_answered_with_what_it_is(kind, tmp_path) -> None:
    """Sites hand out MP4 files as `.gif`, and telephones HEIC pictures as `.jpg`."""
    tried = 0
    for suffix in (".mp4", ".gif", ".png", ".jpg", ".npz"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(CONTENT[kind] + bytes(100))
        with pytest.raises(VDTError) as caught:
            list(video.iterate_frames(path))
        tried += f"is {kind}" in str(caught.value)
    assert tried == {"a HEIC or AVIF picture": 5, "a GIF": 2, "a PNG picture": 2}.get(kind, 4)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".png", ".npz"])
def test_an_empty_file_is_said_to_be_empty(suffix, tmp_path) -> None:
    (tmp_path / f"a{suffix}").touch()
    with pytest.raises(VDTError, match="is empty"):
        list(video.iterate_frames(tmp_path / f"a{suffix}"))
