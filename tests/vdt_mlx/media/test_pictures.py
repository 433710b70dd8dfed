"""Contact sheets and animations show what they say."""

import numpy as np
import pytest

from vdt_mlx.media import pictures


def clip(frames=16, side=64):
    return np.full((frames, side, side, 3), 235, np.uint8)


def mask(frames=16, cells=8):
    out = np.zeros((frames, cells, cells), np.float32)
    out[frames // 2 :] = 1
    return out


def has(picture, colour):
    return (picture == colour).all(axis=-1)


@pytest.mark.parametrize(("side", "factor"), [(16, 8), (32, 4), (48, 3), (64, 2), (128, 1), (300, 1)])
def test_frames_grow_by_whole_numbers(side, factor) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    big = pictures.upscale(noise, 128)
    assert big.shape == (2, side * factor, side * factor, 3)
    assert np.array_equal(big[:, ::factor, ::factor], noise)


def test_long_clips_go_on_below() -> None:
    cell = 128 + 2 * pictures.BORDER
    short, long = (pictures.contact_sheet({"truth": clip(n), "prediction": clip(n)}, mask(n)) for n in (16, 40))
    assert short.shape[1] == long.shape[1] == 16 * cell
    line = 2 * (pictures.CAPTION + cell) + pictures.CAPTION
    assert short.shape[0] == line + pictures.CAPTION
    assert long.shape[0] == 3 * line + pictures.CAPTION


def test_a_hole_is_outlined_along_its_inner_edge() -> None:
    hole = mask()
    hole[:] = 0
    hole[3, 2:4, 2:6] = 1
    sheet = pictures.contact_sheet({"truth": clip()}, hole)
    cell = 128 + 2 * pictures.BORDER
    left, top = 3 * cell + pictures.BORDER, pictures.CAPTION + pictures.BORDER
    frame = sheet[top : top + 128, left : left + 128]
    line = has(frame, pictures.PART)
    assert line[32:34, 32:96].all() and line[62:64, 32:96].all() and line[32:64, 94:96].all()
    assert not line[34:62, 34:94].any()
    line[32:64, 32:96] = False
    assert not line.any()
    other = sheet[top : top + 128, pictures.BORDER : pictures.BORDER + 128]
    assert not has(other, pictures.PART).any()


def test_paths_are_drawn_up_to_each_frame() -> None:
    path = np.stack([np.linspace(8, 56, 16), np.full(16, 20.0)], axis=-1)[:, None]
    wrong = path + np.array([0, 20.0])
    wrong[5] = np.nan
    sheet = pictures.contact_sheet(
        {"truth": clip(), "prediction": clip()}, mask(), paths={"truth": path, "prediction": wrong}
    )
    cell = 128 + 2 * pictures.BORDER
    for index in (1, 15):
        left = index * cell + pictures.BORDER
        top = pictures.CAPTION + pictures.BORDER
        truth = sheet[top : top + 128, left : left + 128]
        ink = np.flatnonzero(has(truth, pictures.INK).any(axis=0))
        assert abs(ink[-1] - 2 * path[index, 0, 0]) <= 2
        assert not has(truth, pictures.TRUE_PATH).any()
        below = top + cell + pictures.CAPTION
        prediction = sheet[below : below + 128, left : left + 128]
        assert has(prediction, pictures.INK)[78:82].any() and has(prediction, pictures.TRUE_PATH)[38:42].any()


def test_animations_number_their_frames() -> None:
    film = pictures.side_by_side({"truth": clip(), "a very long name of a prediction": clip()}, mask())
    assert film.shape == (16, 256 + 2 * pictures.BORDER + pictures.CAPTION, 2 * (256 + 8) + pictures.BORDER, 3)
    heads = film[:, : pictures.CAPTION]
    assert len({head.tobytes() for head in heads}) == 16
    assert (film[0, -1, 0] == pictures.GIVEN).all() and (film[15, -1, 0] == pictures.GENERATED).all()


def test_one_frame_has_room_for_its_captions() -> None:
    sheet = pictures.contact_sheet({"truth": clip(1)}, mask(1))
    assert sheet.shape[1] == pictures.NARROWEST


def test_a_sheet_holds_all_frames(tmp_path) -> None:
    from PIL import Image

    pictures.save_sheet(tmp_path / "sheet.png", [(np.full((3, 8, 6, 3), 200, np.uint8),) * 2])
    side = (64, 48)  # 8 times as large
    size = pictures.MARGIN + 2 + 3 * (side[1] + 2), pictures.CAPTION + 2 * (side[0] + 2)
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == size
    labels = np.asarray(sheet)[pictures.CAPTION :, : pictures.MARGIN]
    numbers = np.asarray(sheet)[: pictures.CAPTION, pictures.MARGIN :]
    assert (labels != pictures.PAPER).any() and (numbers != pictures.PAPER).any()
