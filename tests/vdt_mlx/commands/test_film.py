"""The film of the README: truth above dream, given frames marked, small enough."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vdt_mlx.cli import run
from vdt_mlx.commands import film


def made(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run(film.film, args=list(arguments))
    return int(ended.value.code or 0)


def test_a_film_of_two_scenes(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import physics_sim

    scenes = ["--scene", "collide:4", "--scene", "uniform"]
    assert made(str(tmp_path), "--model", str(tiny_checkpoint), "--no-picture", *scenes) == 0
    assert "film.gif" in capsys.readouterr().out
    with Image.open(tmp_path / "film.gif") as image:
        shown = sum(image.info["duration"] for frame in range(image.n_frames) if image.seek(frame) is None)
        image.seek(12)
        page = np.asarray(image.convert("RGB")).astype(int)
    assert shown >= (16 + film.HOLD) * 90, "the last frame is held"
    assert (tmp_path / "film.gif").stat().st_size < film.MAX_FILM
    tile = page[28 : 28 + film.TILE, film.LEFT : film.LEFT + film.TILE][1::3, 1::3]
    truth = physics_sim.make_clip("collide", "val", 4).frames[12]
    assert np.abs(tile - truth).mean() < 2, "the upper left tile is the true frame"


def test_given_frames_are_shown_as_they_are_and_told_apart(tiny_checkpoint: Path) -> None:
    from vdt_mlx.pipeline import Pipeline

    pages = film.compose(Pipeline.load(tiny_checkpoint), [film._clip("collide:4")])
    below = 28 + film.TILE + film.GAP
    upper, lower = pages[:, 28 : 28 + film.TILE, film.LEFT :], pages[:, below : below + film.TILE, film.LEFT :]
    same = [np.array_equal(a[:, : film.TILE], b[:, : film.TILE]) for a, b in zip(upper, lower, strict=True)]
    assert same[:8] == [True] * 8 and not any(same[8:])
    assert tuple(pages[7, below - 2, film.LEFT + 50]) == film.GIVEN
    assert tuple(pages[8, below - 2, film.LEFT + 50]) == film.DREAMT


@pytest.mark.parametrize(("scene", "words"), [("collide:x", "not"), ("colide", "mean"), ("drop:-1", "not")])
def test_scenes_that_are_none(tmp_path: Path, scene: str, words: str, capsys: pytest.CaptureFixture) -> None:
    assert made(str(tmp_path), "--scene", scene, "--no-picture") == 2
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())
