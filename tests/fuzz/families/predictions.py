"""Predictions that another system made: files of a folder that the examiner scores."""

import io
import random
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from evals.predictors import Bad, Folder, Start
from tests.fuzz.families import npz
from tests.fuzz.mutations import damaged
from vdt_mlx.errors import VDTError
from vdt_mlx.media import video

TITLE = "predictions of a folder"
START = Start("clip-0000", np.zeros((2, 16, 16, 3), np.uint8), 4)


def _warm() -> None:
    """Modules that are imported when they are first needed are imported now: that is no part of a case."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.gif"
        path.write_bytes(good_gif())
        list(video.iterate_frames(path))


def case(rng: random.Random, folder):
    made = folder / "made"
    made.mkdir()
    kind = rng.choice(("npz", "npz", "gif"))
    (made / f"clip-0000.{kind}").write_bytes(_npz(rng) if kind == "npz" else damaged(rng, good_gif()))
    return lambda: _read(made)


def _read(folder):
    ((clip,),) = Folder(folder).predict([START])
    if isinstance(clip, Bad):
        raise VDTError(f"The file {clip.reason}.")
    return clip


def check(result) -> str | None:
    fits = result.dtype == np.uint8 and result.shape in ((4, 16, 16, 3), (2, 16, 16, 3))
    return None if fits or result.shape[1:] == (16, 16, 3) else f"{result.dtype} {result.shape}"


def _npz(rng: random.Random) -> bytes:
    return rng.choice((npz._damaged, npz._member, npz._header, npz._archive))(rng)


@lru_cache
def good_gif() -> bytes:
    file = io.BytesIO()
    images = [Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)) for i in range(4)]
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=100)
    return file.getvalue()


_warm()
