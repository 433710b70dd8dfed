"""What is taken of folders as people have them, and in which order."""

import itertools
import random

import numpy as np
import pytest

from vdt_mlx.errors import VDTError
from vdt_mlx.media.folders import clip_entries, frame_files, natural_order


def folder(tmp_path, *names):
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


ORDERS = {
    "decimals": [f"{round(i * 0.05, 2)}.png" for i in range(25)],
    "signs": [f"{i}.png" for i in range(-12, 13)],
    "signs after a word": [f"angle_{i}.png" for i in range(-12, 13)],
    "signed decimals": [f"x={i / 4}.png" for i in range(-9, 9)],
    "hyphens": [f"frame-{i}.png" for i in range(13)],
    "versions": ["v1.8.png", "v1.9.png", "v1.10.png", "v1.11.png"],
    "three parts": ["1.2.9.png", "1.2.10.png", "1.3.0.png"],
    "upper case": [f"{'Ff'[i % 2]}rame{i}.{'PNG' if i % 3 else 'png'}" for i in range(13)],
    "superscripts": ["1²1.png", "1²2.png", "1²10.png"],
    "dates": ["2023-12-31.png", "2024-01-02.png", "2024-01-11.png"],
    "long numbers": [f"t{10**19 + i}.png" for i in range(3)],
    "no numbers": ["a.png", "B.png", "c.png"],
    "padded": [f"{i:04d}.png" for i in range(8, 12)],
}


@pytest.mark.parametrize("kind", ORDERS)
def test_natural_order(tmp_path, kind) -> None:
    names = ORDERS[kind]
    shuffled = random.Random(0).sample(names, len(names))
    folder(tmp_path, *shuffled)
    assert [path.name for path in natural_order(tmp_path / name for name in shuffled)] == names
    assert [path.name for path in frame_files(tmp_path).paths] == names


FRAMES = [f"{i:03d}.png" for i in range(5)]
BESIDE = {
    "label images": [f"{i:03d}_mask.png" for i in range(5)],
    "labels of another kind": [f"depth{i}.png" for i in range(9)],
    "a cover": ["cover.jpg"],
    "one picture without a number": ["me and my dog.jpeg"],
    "a shorter series": ["still1.png", "still2.png"],
}


@pytest.mark.parametrize("kind", BESIDE)
def test_frames_are_told_from_what_lies_beside_them(tmp_path, kind) -> None:
    taken = frame_files(folder(tmp_path, *FRAMES, *BESIDE[kind], ".hidden.png", "notes.txt"))
    assert [path.name for path in taken.paths] == FRAMES
    assert {path.name for path in taken.left_out} == set(BESIDE[kind])
    sentence = taken.sentence(tmp_path, "images")
    assert "took 5 images (000.png, 001.png ... 004.png)" in sentence and "left out" in sentence


def test_two_cameras_are_not_mixed(tmp_path) -> None:
    folder(tmp_path, *(f"{side}{i}.png" for side, i in itertools.product(("left", "right"), range(4))))
    with pytest.raises(VDTError, match="2 series of 4 images"):
        frame_files(tmp_path)


def test_a_folder_of_masks_alone_is_read(tmp_path) -> None:
    assert len(frame_files(folder(tmp_path, *BESIDE["label images"])).paths) == 5


def test_a_folder_of_videos_is_no_clip(tmp_path) -> None:
    with pytest.raises(VDTError, match=r"videos are clips of their own \(a.mp4\)"):
        frame_files(folder(tmp_path, "a.mp4"))


DATA = {
    "thumbnails": (["a.mp4", "a.jpg", "b.mp4", "b.jpg"], ["a.mp4", "b.mp4"], ["a.jpg", "b.jpg"]),
    "a cover": (["a.mp4", "cover.png"], ["a.mp4"], ["cover.png"]),
    "classes": (["run/a.mp4", "walk/b.mkv", "walk/deep/c.gif"], ["run/a.mp4", "walk/b.mkv", "walk/deep/c.gif"], []),
    "folders of frames": (["x/0.png", "x/1.png", "y/0.png", "y/1.png"], ["x", "y"], []),
    "a folder of frames": (FRAMES, ["."], []),
    "a cover over classes": (["cover.png", "run/a.mp4"], ["run/a.mp4"], ["cover.png"]),
    "frames and masks": (["frames/0.png", "frames/1.png", "masks/0.png", "masks/1.png"], ["frames"], ["masks"]),
    "masks below frames": (["0.png", "1.png", "masks/0.png", "masks/1.png"], ["."], ["masks"]),
    "thumbnails in a folder": (["a.mp4", "thumbs/a1.jpg", "thumbs/a2.jpg"], ["a.mp4"], ["thumbs"]),
    "a preview of each": (["a.gif", "a.mp4", "b.webm", "b.npz"], ["a.mp4", "b.webm"], ["a.gif", "b.npz"]),
    "another kind of video": (["a.mp4", "b.mpg", "labels.json"], ["a.mp4"], ["b.mpg", "labels.json"]),
    "hidden": (["a.mp4", "._a.mp4", ".cache/b.mp4"], ["a.mp4"], []),
}


@pytest.mark.parametrize("kind", DATA)
def test_clips_below_a_folder(tmp_path, kind) -> None:
    names, taken, left_out = DATA[kind]
    found = clip_entries(folder(tmp_path, *names))
    assert [str(path.relative_to(tmp_path)) for path in found.paths] == taken
    assert sorted(str(path.relative_to(tmp_path)) for path in found.left_out) == left_out


def test_a_link_to_a_folder_above_ends(tmp_path) -> None:
    folder(tmp_path, "run/a.mp4")
    (tmp_path / "run" / "again").symlink_to(tmp_path)
    found = clip_entries(tmp_path)
    assert [path.name for path in found.paths] == ["a.mp4"]
    assert found.left_out == [tmp_path / "run" / "again"]


def test_every_order_is_the_same(tmp_path) -> None:
    names = [f"f{i}.png" for i in range(6)]
    orders = {tuple(natural_order(tmp_path / name for name in order)) for order in itertools.permutations(names)}
    assert len(orders) == 1
    assert np.array_equal([path.name for path in orders.pop()], names)
