"""GIFs, and animated WebP and PNG, read as clips."""

import io
import random
from functools import lru_cache

import numpy as np
from PIL import Image

from tests.fuzz.mutations import damaged
from vdt_mlx.media import video

TITLE = "GIF and other animations"
SHARE = 0.5


def case(rng: random.Random, folder):
    suffix = rng.choice(("gif", "gif", "gif", "webp", "png"))
    path = folder / f"a.{suffix}"
    data = good(suffix, rng.randrange(3))
    path.write_bytes(rng.choice((damaged(rng, data), _bomb(rng, data) if suffix == "gif" else damaged(rng, data))))
    frames = rng.choice((1, 4, 6))
    return lambda: video.read_clip(path, frames, (16, 16))


def check(result) -> str | None:
    return None if result.dtype == np.uint8 and result.shape[1:] == (16, 16, 3) else f"{result.dtype} {result.shape}"


@lru_cache
def good(suffix: str, kind: int) -> bytes:
    frames = [np.full((24, 32, 3), 235, np.uint8) for _ in range(6)]
    for index, frame in enumerate(frames):
        frame[8:16, 4 * index : 4 * index + 8] = 220, 50, 47
    pictures = [Image.fromarray(frame) for frame in frames]
    options = {"transparency": 0, "disposal": 2} if kind == 1 and suffix == "gif" else {}
    file = io.BytesIO()
    delays = [100, 300, 100, 100, 50, 100] if kind == 2 else 100
    pictures[0].save(file, suffix, save_all=True, append_images=pictures[1:], duration=delays, loop=0, **options)
    return file.getvalue()


def _bomb(rng: random.Random, data: bytes) -> bytes:
    """A huge canvas, a long delay, or a picture beyond the canvas."""
    out = bytearray(data)
    kind = rng.randrange(3)
    if kind == 0:
        out[6:10] = rng.choice((b"\xff\xff\xff\xff", b"\x00\x20\x00\x20", b"\x00\x00\x10\x00", b"\x10\x00\xff\xff"))
    elif kind == 1 and (at := out.find(b"\x21\xf9\x04")) >= 0:
        out[at + 4 : at + 6] = b"\xff\xff"
    elif (at := out.find(b"\x2c")) >= 0:
        out[at + 1 : at + 9] = rng.randbytes(8)
    return bytes(out)
