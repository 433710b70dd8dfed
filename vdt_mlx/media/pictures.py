"""What a sample looks like, on screen and on paper: side-by-side animation and contact sheet, given frames marked.

Frames are enlarged by whole factors, so that every pixel of the model stays a square.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vdt_mlx.files import atomic_path

Colour = tuple[int, int, int]

INK, PAPER = (40, 44, 52), (250, 250, 247)
GIVEN, GENERATED, PART = (120, 130, 140), (38, 139, 210), (211, 134, 36)
"""Border colours: frames that were given, frames that were generated, and frames generated in part."""
TRUE_PATH = (150, 155, 160)

BORDER = 4
CAPTION = 22
MARGIN = 80
"""Pixels beside the rows of a sheet of pairs, for their labels."""
WRAP = 16
"""Frames in a line of a contact sheet."""
NARROWEST = 460
"""Pixels of a contact sheet, so that its captions have room."""


def enlargement(side: int, target: int) -> int:
    """The whole factor that brings a side of so many pixels closest to `target`."""
    return max(1, int(target / side + 0.5))


def upscale(frames: np.ndarray, target: int = 256) -> np.ndarray:
    """(T, H, W, 3) enlarged by a whole factor, so that small frames are shown at about `target` pixels."""
    factor = enlargement(max(frames.shape[1:3]), target)
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def frame_kinds(mask: np.ndarray) -> list[Colour]:
    """The border colour of each frame of a mask (T, h, w)."""
    parts = mask.reshape(len(mask), -1).mean(axis=1)
    return [GIVEN if part == 0 else GENERATED if part == 1 else PART for part in parts]


def side_by_side(columns: Mapping[str, np.ndarray], mask: np.ndarray, target: int = 256) -> np.ndarray:
    """An animation (T, H', W', 3): one captioned column a clip (T, H, W, 3), its frames numbered from 1.

    Borders tell given from generated frames; in a frame that was generated in part the hole is outlined.
    """
    panels = []
    for title, clip in columns.items():
        cells = _cells(clip, mask, target)
        heads = [_caption(title, cells.shape[2], right=f"{number}/{len(cells)}") for number in range(1, len(cells) + 1)]
        panels.append(np.concatenate([np.stack(heads), cells], axis=1))
    gap = np.full((*panels[0].shape[:2], BORDER, 3), PAPER, np.uint8)
    row = [panels[0]]
    for panel in panels[1:]:
        row += [gap, panel]
    return np.concatenate(row, axis=2)


def contact_sheet(
    rows: Mapping[str, np.ndarray],
    mask: np.ndarray,
    target: int = 128,
    paths: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """One picture (H', W', 3): a captioned row a clip (T, H, W, 3), a column a frame, numbered from 1.

    Clips of more than WRAP frames go on below.

    Args:
        mask: (T, h, w) on latent cells, 1 = generated. Holes are outlined.
        paths: where the objects of a row are, (T, objects, 2) as x and y in pixels of the clip, NaN where one is not
            seen. Each frame shows the paths up to it, over those of the first row in grey.
    """
    frames = len(mask)
    paths = paths or {}
    first = paths.get(next(iter(rows)))
    lines: list[np.ndarray] = []
    for start in range(0, frames, WRAP):
        end = min(start + WRAP, frames)
        width = 0
        for title, clip in rows.items():
            cells = _cells(clip, mask, target, paths.get(title), first)[start:end]
            strip = np.concatenate(list(cells), axis=1)
            lines += [_caption(title, strip.shape[1]), strip]
            width = strip.shape[1]
        column = width // (end - start)
        lines.append(np.concatenate([_caption(str(number + 1), column) for number in range(start, end)], axis=1))
    widest = max(NARROWEST, max(line.shape[1] for line in lines))
    lines.append(_legend(widest, bool((mask.mean(axis=(1, 2)) > 0).any() and (mask.mean(axis=(1, 2)) < 1).any())))
    return np.concatenate([_widened(line, widest) for line in lines], axis=0)


def save_sheet(
    path: Path,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    gap: int = 2,
    *,
    labels: tuple[str, str] = ("truth", "generated"),
    numbers: Sequence[int] | None = None,
) -> None:
    """Writes a PNG of pairs of clips (T, H, W, 3) uint8, the first above the second: a row a clip, a column a frame.

    Args:
        labels: of the two clips of a pair, beside their rows.
        numbers: of the frames, above their columns; from 1 by default.
    """
    from PIL import Image

    rows = [(label, upscale(clip, 64)) for pair in pairs for label, clip in zip(labels, pair, strict=True)]
    height, width = rows[0][1].shape[1:3]
    frames = max(len(row) for _, row in rows)
    numbers = range(1, frames + 1) if numbers is None else numbers
    left = MARGIN + gap
    sheet = np.full((CAPTION + len(rows) * (height + gap), left + frames * (width + gap), 3), PAPER, np.uint8)
    for j, number in enumerate(numbers):
        start = left + j * (width + gap)
        sheet[:CAPTION, start : start + width] = _caption(str(number), width)
    for i, (label, row) in enumerate(rows):
        top = CAPTION + i * (height + gap)
        high = min(CAPTION, height)
        sheet[top : top + high, :MARGIN] = _caption(label, MARGIN)[:high]
        for j, frame in enumerate(row):
            start = left + j * (width + gap)
            sheet[top : top + height, start : start + width] = frame
    with atomic_path(path) as partial:
        Image.fromarray(sheet).save(partial)


def _cells(
    clip: np.ndarray,
    mask: np.ndarray,
    target: int,
    path: np.ndarray | None = None,
    first: np.ndarray | None = None,
) -> np.ndarray:
    """Every frame (T, H', W', 3) enlarged, framed in the colour of its kind, with its hole and the paths up to it."""
    big = upscale(clip, target)
    factor = big.shape[1] // clip.shape[1]
    out = []
    for index, colour in enumerate(frame_kinds(mask)):
        frame = big[index]
        if path is not None:
            truth = None if first is None or first is path else first[: index + 1]
            frame = _with_paths(frame, truth, path[: index + 1], factor)
        if colour == PART:
            frame = _outlined(frame, mask[index] > 0)
        out.append(_framed(frame, colour))
    return np.stack(out)


def _outlined(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The frame with a line along the inner edge of a hole (h, w) on cells."""
    height, width = frame.shape[:2]
    rows, columns = np.arange(height) * hole.shape[0] // height, np.arange(width) * hole.shape[1] // width
    inside = hole[np.ix_(rows, columns)]
    padded = np.pad(inside, 2)
    core = inside.copy()
    for down in (0, 2, 4):
        for right in (0, 2, 4):
            core &= padded[down : down + height, right : right + width]
    out = frame.copy()
    out[inside & ~core] = PART
    return out


def _with_paths(frame: np.ndarray, truth: np.ndarray | None, path: np.ndarray, factor: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    for places, colour in ((truth, TRUE_PATH), (path, INK)):
        if places is None:
            continue
        for which in range(places.shape[1]):
            seen = [tuple(place * factor) for place in places[:, which] if np.isfinite(place).all()]
            if len(seen) > 1:
                draw.line(seen, fill=colour, width=2, joint="curve")
    return np.asarray(image)


def _framed(frame: np.ndarray, colour: Colour) -> np.ndarray:
    height, width = frame.shape[:2]
    out = np.empty((height + 2 * BORDER, width + 2 * BORDER, 3), np.uint8)
    out[:] = colour
    out[BORDER:-BORDER, BORDER:-BORDER] = frame
    return out


def _caption(text: str, width: int, *, right: str = "", swatch: Colour | None = None) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, CAPTION), PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    left = 6
    if swatch is not None:
        draw.rectangle((left, 6, left + 10, 16), fill=swatch)
        left += 16
    draw.text((left, CAPTION // 2), text, fill=INK, anchor="lm", font=font)
    if right:
        start = width - 6 - draw.textlength(right, font)
        draw.rectangle((start - 6, 0, width, CAPTION), fill=PAPER)  # the number is more than the end of a long title
        draw.text((start, CAPTION // 2), right, fill=INK, anchor="lm", font=font)
    return np.asarray(image)


def _widened(line: np.ndarray, width: int) -> np.ndarray:
    rest = np.full((line.shape[0], width - line.shape[1], 3), PAPER, np.uint8)
    return np.concatenate([line, rest], axis=1)


def _legend(width: int, parts: bool) -> np.ndarray:
    entries = [("given", GIVEN), ("generated", GENERATED)]
    entries += [("generated inside the line", PART)] if parts else []
    cells = [_caption(name, 200 if colour == PART else 110, swatch=colour) for name, colour in entries]
    return _widened(np.concatenate(cells, axis=1), width)
