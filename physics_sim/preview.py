"""Pictures of every scenario, to look at: contact sheets (PNG) and animations (GIF)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from physics_sim.clip import Clip
from physics_sim.files import disk_errors, partial_path
from physics_sim.sampling import make_clip
from physics_sim.worlds import WORLD_VERSION, World

SHOWN = 8
"""Frames of a clip on a sheet, half of them given, if there are so many."""
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
    frames: int | None = None,
    given: int | None = None,
    world: World = WORLD_VERSION,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes NAME.png (a row a clip) and NAME.gif for every scenario, and scenarios.png (one clip of each).

    Returns the paths; raises SimulationError for arguments that do not fit or a folder that cannot be written.
    """
    out = Path(out)
    paths, overview = [], []
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for done, name in enumerate(scenarios):
            options: dict = {"seed": seed, "size": size, "frames": frames, "given": given, "world": world}
            made = [make_clip(name, split, index, **options) for index in range(clips)]
            pixels = np.stack([clip.frames for clip in made])
            titles = [_title(clip) for clip in made]
            sheet = _sheet(pixels, made[0].given, [f"{name} {i}{title}" for i, title in enumerate(titles)])
            paths.append(_save(out / f"{name}.png", [sheet]))
            overview.append((pixels[-1], made[0].given, f"{name}{titles[-1]}"))
            film = [_row(pixels[:, t]) for t in range(pixels.shape[1])]
            paths.append(_save(out / f"{name}.gif", film))
            if progress is not None:
                progress(done + 1, len(scenarios))
        rows = np.stack([pixels for pixels, _, _ in overview])
        sheet = _sheet(rows, overview[0][1], [title for _, _, title in overview])
        paths.append(_save(out / "scenarios.png", [sheet]))
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


def _sheet(frames: np.ndarray, given_count: int, titles: Sequence[str]) -> np.ndarray:
    """(N, T, H, W, 3) as rows of SHOWN frames under their titles; a thicker line after the last given frame."""
    from PIL import Image, ImageDraw, ImageFont

    side = frames.shape[2]
    text = max(10, side // 9)
    rows = []
    for clip, title in zip(frames, titles, strict=True):
        given = _spread(0, given_count - 1)
        asked = _spread(given_count, len(clip) - 1)
        gap = np.full((side, 4 * LINE, 3), PAPER, np.uint8)
        row = np.concatenate([_row(clip[given]), gap, _row(clip[asked])], axis=1)
        head = Image.new("RGB", (row.shape[1], text + 8), PAPER)
        font = ImageFont.load_default(text)
        ImageDraw.Draw(head).text((4, 2), title, fill=INK, font=font)
        rows += [np.asarray(head), row]
    return np.concatenate(rows, axis=0)


def _spread(first: int, last: int) -> list[int]:
    count = min(SHOWN // 2, last - first + 1)
    return np.linspace(first, last, count).round().astype(int).tolist()


def _save(path: Path, pictures: list[np.ndarray]) -> Path:
    """PNG for one picture, an endless GIF for several (10 frames a second, a pause at the end)."""
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    with partial_path(path) as partial:
        if len(images) == 1:
            images[0].save(partial, "PNG")
        else:
            # One palette for the whole film, so that flat colours do not flicker.
            tall = Image.fromarray(np.concatenate(pictures[:: max(1, len(pictures) // 4)], axis=0))
            palette = tall.quantize(128)
            film = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
            durations = [100] * (len(film) - 1) + [900]
            film[0].save(partial, "GIF", save_all=True, append_images=film[1:], duration=durations, loop=0)
    return path
