"""Animations: how long each picture is shown, and reading back what was written."""

import numpy as np
import pytest
from PIL import Image

from vdt_mlx.errors import VDTError
from vdt_mlx.media import animation, video
from vdt_mlx.media.timing import repeats


def scene(x: int) -> np.ndarray:
    frame = np.full((32, 48, 3), 235, np.uint8)
    frame[12:20, x : x + 8] = 220, 50, 47
    return frame


def save(path, frames, delays, **options) -> None:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=rest, duration=delays, loop=0, **options)


@pytest.mark.parametrize(
    ("delays", "counts"),
    [
        ([100] * 4, [1] * 4),
        ([500, 100, 100], [5, 1, 1]),
        ([30, 40, 30, 30], [1] * 4),  # 30 frames a second, rounded to hundredths
        ([30, 40, 70, 100], [1, 1, 2, 3]),
        ([200, 200, 100], [2, 2, 1]),
        ([100, 150, 100], [2, 3, 2]),
        ([0, 0, 0], [1, 1, 1]),
        ([0, 100, 300], [1, 1, 3]),
        ([1600], [1]),
    ],
)
def test_delays_count(delays, counts) -> None:
    assert repeats(delays) == (counts, None)


def test_what_cannot_be_told_is_said() -> None:
    counts, remark = repeats([70, 100, 70])
    assert counts == [1, 1, 1] and remark is not None and "pictures 1 " in remark
    counts, remark = repeats([20, 655350])
    assert counts[1] == 1000 and remark is not None


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_a_picture_that_is_shown_longer_is_several_frames(tmp_path, suffix) -> None:
    frames = [scene(4 * index) for index in range(4)]
    options = {"lossless": True} if suffix == ".webp" else {}
    save(tmp_path / f"a{suffix}", frames, [100, 300, 100, 100], **options)
    read = list(video.iterate_frames(tmp_path / f"a{suffix}"))
    assert [np.abs(a.astype(int) - frames[i]).max() < 6 for a, i in zip(read, [0, 1, 1, 1, 2, 3], strict=True)] == [
        True
    ] * 6


CLIPS = {
    "rests": [scene(4 * min(index, 5)) for index in range(12)],
    "still": [scene(8)] * 7,
    "stops and goes": [scene(4 * (index // 3)) for index in range(12)],
    "one frame": [scene(0)],
}


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("kind", ["gif", "mp4", "npz", "png"])
def test_what_was_written_is_read_back(tmp_path, clip, kind) -> None:
    frames = np.stack(CLIPS[clip])
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        video.write_npz(path, frames=frames)
    else:
        write = {"gif": video.write_gif, "mp4": video.write_mp4, "png": lambda path, frames, fps: None}[kind]
        write(path, frames, 8)
    if kind == "png":
        video.write_pngs(path, frames)
    read = np.stack(list(video.iterate_frames(path)))
    assert read.shape == frames.shape
    error = np.abs(read.astype(int) - frames)
    assert error.max() == 0 if kind != "mp4" else np.percentile(error, 95) < 30


def test_other_readers_see_every_frame_of_our_gif_too(tmp_path) -> None:
    video.write_gif(tmp_path / "a.gif", np.stack(CLIPS["rests"]), 10)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 12


def test_many_colours_and_equal_frames(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    video.write_gif(tmp_path / "a.gif", np.stack([noise] * 5 + [noise[::-1]] * 4), 10)
    read = list(video.iterate_frames(tmp_path / "a.gif"))
    assert len(read) == 9
    assert all(np.array_equal(read[0], frame) for frame in read[1:5])


def test_transparent_background_is_white(tmp_path) -> None:
    frames = []
    for index in range(4):
        frame = Image.new("P", (64, 64), 0)
        frame.putpalette([255, 0, 255, 220, 50, 47] + [0] * 762)
        frame.paste(1, (4 + 10 * index, 28, 12 + 10 * index, 36))
        frames.append(frame)
    frames[0].save(
        tmp_path / "t.gif", save_all=True, append_images=frames[1:], disposal=2, transparency=0, duration=100
    )
    for index, frame in enumerate(video.iterate_frames(tmp_path / "t.gif")):
        assert frame[0, 0].tolist() == [255] * 3
        assert frame[30, 6 + 10 * index].tolist() == [220, 50, 47]


def test_a_gif_with_something_after_its_end_is_whole(tmp_path) -> None:
    save(tmp_path / "a.gif", [scene(0), scene(9)], 100)
    with (tmp_path / "a.gif").open("ab") as file:
        file.write(b"a comment by a camera" * 9)
    assert len(list(video.iterate_frames(tmp_path / "a.gif"))) == 2


def test_a_bomb_is_refused_before_it_unpacks(tmp_path, monkeypatch) -> None:
    save(tmp_path / "a.gif", [scene(0), scene(9), scene(18)], 100)
    monkeypatch.setattr(animation, "MAX_PIXELS", 2 * 32 * 48)
    with pytest.raises(VDTError, match="too much"):
        list(video.iterate_frames(tmp_path / "a.gif"))
