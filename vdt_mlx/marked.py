"""Which objects of a clip can be followed by their colours, for the quick pair errors of one's own clips.

Known are the colours that every simulated clip has (agent red, patient yellow), colours that somebody names, and those
that a map shows: a PNG of the clip's first frame, the agent red and the patient yellow as in Physion's, or with whole
numbers for pixels, 1 for the agent and 2 for the patient. A colour counts where it shows one small thing: what has the
colour of the background, or is in several places, is not followed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.media.images import FORMATS, read_image
from vdt_mlx.pair_score import MIN_AREA, STANDARD, TOLERANCE, Colour, Marked, weights

TOLERANCES = (TOLERANCE, 60.0, 40.0, 25.0)
"""Distances in RGB, tried from the widest, up to which a named colour counts as an object's."""
LARGEST = 0.25
"""Share of a frame that an object covers at most."""
WHOLE = 0.8
"""Share of its colour that an object has: the rest may lie about in specks."""
AGENT, PATIENT = (255, 0, 0), (255, 255, 0)
"""Colours of a map."""
NEAR = 110.0
"""Distance in RGB up to which a pixel of a map has one of them."""


def parse_colours(text: str) -> dict[str, Colour]:
    """`agent=#dc322f,patient=#fac828` -> colours by name or role. Raises VDTError."""
    found = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or not name:
            raise VDTError(f"The colours {text!r} do not fit: name=#rrggbb,name=#rrggbb.")
        found[name.strip()] = read_colour(value.strip(), f"The colours {text!r} have")
    return found


def read_colour(value: Any, said: str) -> Colour:
    """A colour from "#rrggbb" or three whole numbers. Raises VDTError; `said` begins its sentence."""
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    if isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value):
        return value[0], value[1], value[2]
    raise VDTError(f"{said} the colour {value!r}; it is #rrggbb, or three whole numbers from 0 to 255.")


def spelled(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


# Colours in frames -------------------------------------------------------------------------------------------------


def seen(frames: np.ndarray) -> Marked | None:
    """The simulator's agent and patient, as far as these frames (T, H, W, 3) show them; None if they show neither."""
    kept = [place for place, colour in enumerate(STANDARD.colours) if _follows(frames, colour, TOLERANCE)]
    if not kept:
        return None
    return Marked(tuple(STANDARD.names[i] for i in kept), tuple(STANDARD.colours[i] for i in kept))


def named(frames: np.ndarray, colours: Mapping[str, Colour]) -> Marked:
    """Objects of these colours, with the widest tolerance at which each is one small thing in the frames (T, H, W, 3).

    Raises VDTError for a colour that is nowhere, in several places or the background's.
    """
    values = np.array(list(colours.values()), float)
    apart = np.linalg.norm(values[:, None] - values[None], axis=-1)[~np.eye(len(values), dtype=bool)]
    most = min(TOLERANCE, float(apart.min()) / 2) if len(apart) else TOLERANCE
    for tolerance in sorted({most, *(one for one in TOLERANCES if one < most)}, reverse=True):
        lost = [name for name, colour in colours.items() if not _follows(frames, colour, tolerance)]
        if not lost:
            return Marked(tuple(colours), tuple(colours.values()), tolerance)
    raise VDTError(
        f"The colour {spelled(colours[lost[0]])} of {lost[0]} shows no single small thing in the known frames, so "
        "it cannot be followed."
    )


def _follows(frames: np.ndarray, colour: Colour, tolerance: float) -> bool:
    """Whether a colour is one small thing in every frame that has it, and is in at least one."""
    from scipy import ndimage

    there = weights(frames, colour, tolerance)  # (T, H, W)
    pixels = there.shape[1] * there.shape[2]
    least = MIN_AREA * pixels / 64**2
    totals = there.sum(axis=(1, 2))
    if not (totals >= least).any() or totals.max() > LARGEST * pixels:
        return False
    for weight, total in zip(there, totals, strict=True):
        if total >= least:
            pieces, count = ndimage.label(weight > 0, np.ones((3, 3)))
            if ndimage.sum_labels(weight, pieces, np.arange(1, count + 1)).max() < WHOLE * total:
                return False
    return True


# Maps --------------------------------------------------------------------------------------------------------------


def read_map(path: Path) -> dict[str, np.ndarray]:
    """Where a map shows agent and patient: {name: (H, W) bool}, those that it shows.

    Raises VDTError for a file that is no picture.
    """
    from PIL import Image

    picture = read_image(path)
    with Image.open(path, formats=tuple(FORMATS)) as image:
        whole = image.mode in ("L", "P", "I", "1")
        numbers = np.array(image) if whole else None
    if numbers is not None and numbers.max() <= 2:
        found = {"agent": numbers == 1, "patient": numbers == 2}
    else:
        colours = {"agent": AGENT, "patient": PATIENT}
        apart = {name: np.linalg.norm(picture.astype(float) - colour, axis=-1) for name, colour in colours.items()}
        found = {name: distance < NEAR for name, distance in apart.items()}
    return {name: where for name, where in found.items() if where.any()}


def colours_of_map(path: Path, frame: np.ndarray) -> dict[str, Colour]:
    """The colours, in a clip's first frame (H, W, 3), of what a map of that frame shows.

    Raises VDTError: the map cannot be read, is of another size, or shows neither agent nor patient.
    """
    shown = read_map(path)
    if not shown:
        raise VDTError(f"The map {path} shows neither agent (red, or 1) nor patient (yellow, or 2).")
    height, width = next(iter(shown.values())).shape
    if frame.shape[:2] != (height, width):
        raise VDTError(f"The map {path} is {width} x {height}, and the clip {frame.shape[1]} x {frame.shape[0]}.")
    middle = {name: np.median(frame[where], axis=0) for name, where in shown.items()}
    return {name: (int(red), int(green), int(blue)) for name, (red, green, blue) in middle.items()}
