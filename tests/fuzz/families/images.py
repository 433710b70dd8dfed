"""Picture files of every format and depth, read as frames of a folder, as masks, and as one picture."""

import io
import random
from functools import lru_cache

import numpy as np
from PIL import Image

from tests.fuzz.mutations import damaged
from vdt_mlx.media import video
from vdt_mlx.media.mask_file import read_mask

TITLE = "pictures"
KINDS = ("png", "png16", "pngalpha", "palette", "jpeg", "webp", "bmp", "tiff", "tiff16", "tifffloat", "exif")
STRANGERS = (
    *(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xc5\xd0\xd3\xc6", b"<svg/>", b"8BPS"),
    *(
        b"\0\0\0\x1cftypavif",
        b"\0\0\0\x0cjP  ",
        b"%PDF-1.4",
        b"RIFF\0\0\0\0WAVE",
        b"GIF89a",
        b"\x1f\x8b",
        b"PK\x03\x04",
        b"",
    ),
)


def case(rng: random.Random, folder):
    kind = rng.choice(KINDS)
    data = good(kind)
    data = rng.choice(STRANGERS) + data[rng.randrange(20) :] if rng.random() < 0.1 else damaged(rng, data)
    path = folder / rng.choice(("a.png", "a.jpg", "a.tif", "a.webp", "a.bmp"))
    path.write_bytes(data)
    if rng.random() < 0.3 and path.suffix == ".png":
        return lambda: read_mask(path, (16, 4, 4), (32, 32))
    return lambda: video.read_clip(rng.choice((path, folder)), 1, (16, 16))


def check(result) -> str | None:
    if result.dtype == np.float32:
        return None if result.shape == (16, 4, 4) and set(np.unique(result)) <= {0, 1} else f"mask {result.shape}"
    return None if result.dtype == np.uint8 and result.shape == (1, 16, 16, 3) else f"{result.dtype} {result.shape}"


@lru_cache
def good(kind: str) -> bytes:
    rng = np.random.default_rng(0)
    grey = np.kron(rng.integers(0, 256, (8, 8), dtype=np.uint8), np.ones((4, 4), np.uint8))
    colour = np.dstack([grey, grey[::-1], grey.T])
    image = {
        "png16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "tiff16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "tifffloat": lambda: Image.fromarray(grey.astype(np.float32) / 255),
        "pngalpha": lambda: Image.fromarray(np.dstack([colour, grey])),
        "palette": lambda: Image.fromarray(grey).quantize(16),
    }.get(kind, lambda: Image.fromarray(colour))()
    options = {}
    if kind == "exif":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    formats = {"jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP", "exif": "JPEG"}
    file = io.BytesIO()
    image.save(file, "TIFF" if kind.startswith("tif") else formats.get(kind, "PNG"), **options)
    return file.getvalue()
