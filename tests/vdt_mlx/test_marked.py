"""What can be followed by its colour, and what cannot; maps that tell the colours."""

import numpy as np
import pytest

from vdt_mlx.errors import VDTError
from vdt_mlx.marked import colours_of_map, named, parse_colours, read_map, seen
from vdt_mlx.media.video import write_png
from vdt_mlx.pair_score import AGENT, PATIENT, STANDARD, Marked, metrics

GREEN, BLUE = (60, 180, 90), (60, 150, 120)


def clip(*blobs: tuple[tuple[int, int, int], int, int], frames: int = 4) -> np.ndarray:
    """Grey frames with squares of 8 pixels, (colour, x, y), that move to the right by two pixels a frame."""
    film = np.full((frames, 64, 64, 3), 200, np.uint8)
    for colour, x, y in blobs:
        for t in range(frames):
            film[t, y : y + 8, x + 2 * t : x + 2 * t + 8] = colour
    return film


def test_the_simulators_colours_are_seen() -> None:
    assert seen(clip((AGENT, 4, 4), (PATIENT, 40, 40))) == STANDARD
    assert seen(clip((PATIENT, 40, 40))) == Marked(("patient",), (PATIENT,))
    assert seen(clip((GREEN, 4, 4))) is None


def test_what_is_in_two_places_or_everywhere_is_not_followed() -> None:
    assert seen(clip((AGENT, 4, 4), (AGENT, 40, 40))) is None
    assert seen(np.full((2, 64, 64, 3), AGENT, np.uint8)) is None
    with pytest.raises(VDTError, match="#3cb45a of ball"):
        named(clip((GREEN, 4, 4), (GREEN, 40, 40)), {"ball": GREEN})
    with pytest.raises(VDTError, match="no single small thing"):
        named(clip((GREEN, 4, 4)), {"wall": (200, 200, 200)})


def test_close_colours_are_told_apart() -> None:
    film = clip((GREEN, 4, 4), (BLUE, 40, 40))
    found = named(film, {"a": GREEN, "b": BLUE})
    assert found.tolerance <= np.linalg.norm(np.subtract(GREEN, BLUE)) / 2
    later = film.copy()
    later[2:] = clip((GREEN, 7, 4), (BLUE, 40, 44))[2:]
    mask = np.array([0, 0, 1, 1]).reshape(4, 1, 1)
    scores = metrics(film, later[None], mask, simulated=False, predicting=True, by_frame=False, objects=found)
    assert scores["objects"] == ["a", "b"]
    assert scores["pair_error"] == pytest.approx((3 + 4) / 2)
    assert scores["pair_error_copy_last"] == pytest.approx((2 + 4) / 2)


def test_a_map_tells_the_colours(tmp_path) -> None:
    film = clip((GREEN, 4, 4), (BLUE, 40, 40))
    picture = np.full((64, 64, 3), 128, np.uint8)
    picture[4:12, 4:12], picture[40:48, 40:48] = (255, 0, 0), (255, 255, 0)
    write_png(tmp_path / "map.png", picture)
    assert colours_of_map(tmp_path / "map.png", film[0]) == {"agent": GREEN, "patient": BLUE}

    from PIL import Image

    numbers = np.zeros((64, 64), np.uint8)
    numbers[40:48, 40:48] = 2
    Image.fromarray(numbers).save(tmp_path / "numbers.png")
    assert list(read_map(tmp_path / "numbers.png")) == ["patient"]
    assert colours_of_map(tmp_path / "numbers.png", film[0]) == {"patient": BLUE}
    for name, shape, sentence in (("small", (32, 32, 3), "64 x 64|32 x 32"), ("none", (64, 64, 3), "shows neither")):
        blank = np.zeros(shape, np.uint8)
        blank[:2] = (255, 0, 0) if name == "small" else 0
        write_png(tmp_path / f"{name}.png", blank)
        with pytest.raises(VDTError, match=sentence):
            colours_of_map(tmp_path / f"{name}.png", film[0])


def test_colours_in_words() -> None:
    assert parse_colours("agent=#dc322f, patient=#fac828") == {"agent": AGENT, "patient": PATIENT}
    for text in ("agent", "agent=red", "=#dc322f", ""):
        with pytest.raises(VDTError):
            parse_colours(text)
