"""Video files of every container, damaged, and playlists that name other files."""

import os
import random
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from tests.fuzz.mutations import damaged
from vdt_mlx.media import video

TITLE = "videos"
SHARE = 0.05
ALLOWED = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork"})
CODECS = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx", "avi": "mpeg4", "mov": "qtrle"}
PLAYLISTS = (b"#EXTM3U\n#EXTINF:2,\n/etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"<MPD/>", b"v=0\n")


def case(rng: random.Random, folder):
    kind = rng.choice(list(CODECS))
    path = folder / f"a.{rng.choice((kind, kind, 'mp4'))}"
    path.write_bytes(rng.choice(PLAYLISTS) if rng.random() < 0.1 else damaged(rng, good(kind)))
    return lambda: video.read_clip(path, 3, (16, 16))


def check(result) -> str | None:
    return None if result.dtype == np.uint8 and result.shape == (3, 16, 16, 3) else f"{result.dtype} {result.shape}"


@lru_cache
def good(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"a.{kind}"
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=s=48x32:r=10:d=1",
        ]
        subprocess.run([*command, "-c:v", CODECS[kind], os.fspath(path)], check=True, stdin=subprocess.DEVNULL)
        return path.read_bytes()
