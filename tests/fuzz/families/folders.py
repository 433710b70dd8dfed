"""Folders of one's own: names of every kind, links, folders in folders, read as frames and as a data set."""

import random

from tests.fuzz.families.images import good
from vdt_mlx.media.folders import clip_entries, frame_files
from vdt_mlx.media.video import read_clip

TITLE = "folders and names"
WORDS = (
    "frame",
    "Frame",
    "a",
    "mask",
    "depth",
    "",
    "é",
    "e\u0301",
    "²",
    "٣",
    "--",
    "-",
    "_",
    ".",
    " ",
    "%03d",
    "[b]",
    "\n",
    "'",
    "\udce9",
)
NUMBERS = ("0", "1", "01", "-1", "0.5", "1.10", "1.9", "9" * 30, "9" * 120, "1e5", "²")
SUFFIXES = (".png", ".PNG", ".jpg", ".mp4", ".gif", ".npz", ".txt", "", ".png.part", ".tif")


def case(rng: random.Random, folder):
    root = folder / "root"
    root.mkdir()
    inner = [root]
    for _ in range(rng.randrange(12)):
        name = "".join(rng.choice((rng.choice(WORDS), rng.choice(NUMBERS))) for _ in range(rng.randrange(1, 4)))
        path = rng.choice(inner) / (name[-120:] + rng.choice(SUFFIXES))
        if path.name in ("", ".", "..") or path.exists() or path.is_symlink():
            continue
        kind = rng.randrange(8)
        if kind == 0:
            path.mkdir()
            inner.append(path)
        elif kind == 1:
            path.symlink_to(rng.choice((root, path, folder / "nothing", *inner)))
        else:
            path.write_bytes(good("png") if rng.random() < 0.8 else b"")
    use = rng.choice((clip_entries, frame_files, lambda root: read_clip(root, 2, (16, 16)) is not None))

    def call():
        result = use(root)
        if hasattr(result, "sentence"):
            result.sentence(root, "images").encode("utf-8", "surrogateescape")
            if len({*result.paths, *result.left_out}) != len(result.paths) + len(result.left_out):
                raise AssertionError("a path was taken twice")
        return result

    return call
