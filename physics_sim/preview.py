"""Pictures of every scenario, to look at: contact sheets (PNG) and animations (GIF)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from physics_sim.clip import Clip
from physics_sim.dataset import _disk_errors, _partial
from physics_sim.sampling import make_clip
from physics_sim.units import FRAMES

SHOWN = (0, 3, 6, 7, 9, 11, 13, 15)
"""Frames on a sheet; those up to 7 are given."""
LINE = 2
PAPER = (255, 255, 255)
INK = (52, 60, 72)


def write_previews(
    out: str | Path,
    scenarios: Sequence[str],
    *,
    split: str = "train",
    clips: int = 4,
    size: int = 128,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes NAME.png (a row a clip) and NAME.gif for every scenario, and scenarios.png (one clip of each).

    Returns the paths; raises SimulationError for arguments that do not fit or a folder that cannot be written.
    """
    out = Path(out)
    paths, overview = [], []
    with _disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for done, name in enumerate(scenarios):
            made = [make_clip(name, split, index, seed=seed, size=size) for index in range(clips)]
            frames = np.stack([clip.frames for clip in made])
            titles = [_title(clip) for clip in made]
            sheet = _sheet(frames, [f"{name} {i}{title}" for i, title in enumerate(titles)])
            paths.append(_save(out / f"{name}.png", [sheet]))
            overview.append((frames[-1], f"{name}{titles[-1]}"))
            film = [_row(frames[:, t]) for t in range(FRAMES)]
            paths.append(_save(out / f"{name}.gif", film))
            if progress is not None:
                progress(done + 1, len(scenarios))
        rows = np.stack([frames for frames, _ in overview])
        paths.append(_save(out / "scenarios.png", [_sheet(rows, [title for _, title in overview])]))
    return paths


def _title(clip: Clip) -> str:
    if all(body.role != "patient" for body in clip.bodies):
        return ""
    return f": contact in frame {clip.contact_time + 1:.1f}" if clip.contact else ": no contact"


def _row(pictures: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) side by side with lines between."""
    line = np.full((pictures.shape[1], LINE, 3), PAPER, np.uint8)
    parts = [part for picture in pictures for part in (picture, line)]
    return np.concatenate(parts[:-1], axis=1)


def _sheet(frames: np.ndarray, titles: Sequence[str]) -> np.ndarray:
    """(N, 16, H, W, 3) as rows of SHOWN frames under their titles; a thicker line after the last given frame."""
    from PIL import Image, ImageDraw, ImageFont

    side = frames.shape[2]
    text = max(10, side // 9)
    rows = []
    for clip, title in zip(frames, titles, strict=True):
        given = [t for t in SHOWN if t < FRAMES // 2]
        asked = [t for t in SHOWN if t >= FRAMES // 2]
        gap = np.full((side, 4 * LINE, 3), PAPER, np.uint8)
        row = np.concatenate([_row(clip[given]), gap, _row(clip[asked])], axis=1)
        head = Image.new("RGB", (row.shape[1], text + 8), PAPER)
        font = ImageFont.load_default(text)
        ImageDraw.Draw(head).text((4, 2), title, fill=INK, font=font)
        rows += [np.asarray(head), row]
    return np.concatenate(rows, axis=0)


def _save(path: Path, pictures: list[np.ndarray]) -> Path:
    """PNG for one picture, an endless GIF for several (10 frames a second, a pause at the end)."""
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    with _partial(path) as partial:
        if len(images) == 1:
            images[0].save(partial, "PNG")
        else:
            # One palette for the whole film, so that flat colours do not flicker.
            tall = Image.fromarray(np.concatenate(pictures[:: FRAMES // 4], axis=0))
            palette = tall.quantize(128)
            film = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
            durations = [100] * (len(film) - 1) + [900]
            film[0].save(partial, "GIF", save_all=True, append_images=film[1:], duration=durations, loop=0)
    return path
