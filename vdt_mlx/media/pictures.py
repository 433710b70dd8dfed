"""What a sample looks like, on screen and on paper: side-by-side animation and contact sheet, given frames marked."""

import numpy as np

INK, PAPER = (40, 44, 52), (250, 250, 247)
GIVEN, GENERATED, PART = (120, 130, 140), (38, 139, 210), (211, 134, 36)
"""Border colours: frames that were given, frames that were generated, and frames generated in part."""

BORDER = 4


def upscale(frames: np.ndarray, target: int = 256) -> np.ndarray:
    """(T, H, W, 3) enlarged by a whole factor, so that small frames are shown at about `target` pixels."""
    factor = max(1, target // max(frames.shape[1:3]))
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def frame_kinds(mask: np.ndarray) -> list[tuple[int, int, int]]:
    """The border colour of each frame of a mask (T, h, w)."""
    parts = mask.reshape(len(mask), -1).mean(axis=1)
    return [GIVEN if part == 0 else GENERATED if part == 1 else PART for part in parts]


def side_by_side(columns: dict[str, np.ndarray], mask: np.ndarray, target: int = 256) -> np.ndarray:
    """An animation (T, H', W', 3): one captioned column a clip (T, H, W, 3), borders telling given from generated."""
    kinds = frame_kinds(mask)
    panels = []
    for title, clip in columns.items():
        big = upscale(clip, target)
        framed = np.stack([_framed(frame, kind) for frame, kind in zip(big, kinds, strict=True)])
        header = _caption(title, framed.shape[2])
        panels.append(np.concatenate([np.broadcast_to(header, (len(framed), *header.shape)), framed], axis=1))
    gap = np.full((*panels[0].shape[:2], BORDER, 3), PAPER, np.uint8)
    row = [panels[0]]
    for panel in panels[1:]:
        row += [gap, panel]
    return np.concatenate(row, axis=2)


def contact_sheet(rows: dict[str, np.ndarray], mask: np.ndarray, target: int = 96) -> np.ndarray:
    """One picture (H', W', 3): a captioned row a clip, a column a frame, numbered from 1."""
    kinds = frame_kinds(mask)
    strips = []
    for title, clip in rows.items():
        big = upscale(clip, target)
        cells = [_framed(frame, kind) for frame, kind in zip(big, kinds, strict=True)]
        strip = np.concatenate(cells, axis=1)
        strips += [_caption(title, strip.shape[1]), strip]
    width = strips[-1].shape[1]
    numbers = np.concatenate([_caption(str(i + 1), width // len(kinds)) for i in range(len(kinds))], axis=1)
    return np.concatenate([*strips, numbers, _legend(width)], axis=0)


def _framed(frame: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    height, width = frame.shape[:2]
    out = np.empty((height + 2 * BORDER, width + 2 * BORDER, 3), np.uint8)
    out[:] = colour
    out[BORDER:-BORDER, BORDER:-BORDER] = frame
    return out


def _caption(text: str, width: int, height: int = 22, swatch: tuple[int, int, int] | None = None) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    left = 6
    if swatch is not None:
        draw.rectangle((left, 6, left + 10, 16), fill=swatch)
        left += 16
    draw.text((left, height // 2), text, fill=INK, anchor="lm", font=ImageFont.load_default(13))
    return np.asarray(image)


def _legend(width: int) -> np.ndarray:
    entries = (("given", GIVEN), ("generated", GENERATED), ("generated in part", PART))
    column = min(150, width // len(entries))
    cells = [_caption(name, column, swatch=colour) for name, colour in entries]
    rest = np.full((cells[0].shape[0], width - column * len(entries), 3), PAPER, np.uint8)
    return np.concatenate([*cells, rest], axis=1)
