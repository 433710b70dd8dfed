"""`python -m vdt_mlx.commands.film docs`: the film of the README, truth above dream, and a picture of the playground.

The film needs the model alone; the picture is taken with Playwright and a Chromium, and left out without them.
"""

import re
from pathlib import Path
from typing import Any

import click
import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.media import video
from vdt_mlx.play.process import BROWSER_OPTIONS, find_browser, served

SCENES = ("collide:4", "contain:2", "dominoes:4")
TILE, GAP, LEFT = 192, 10, 64
HOLD = 8
"""How often the last frame is repeated, so that the end can be seen."""
FPS = 9
INK, PAPER, GIVEN, DREAMT = (40, 44, 52), (250, 250, 247), (120, 130, 140), (15, 107, 131)
MAX_FILM, MAX_PICTURE = 1_000_000, 200_000


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--model", default="physics", show_default=True, help="A registered name, a folder or a hub repository.")
@click.option("--scene", "scenes", multiple=True, default=SCENES, show_default=True, help="SCENARIO:INDEX; repeatable.")
@click.option("--picture/--no-picture", default=True, help="Also take a picture of the playground's page.")
def film(out: Path, model: str, scenes: tuple[str, ...], picture: bool) -> None:
    """Make OUT/film.gif, truth above the model's dream for some validation clips, and OUT/playground.png."""
    from vdt_mlx.pipeline import Pipeline

    path = out / "film.gif"
    clips = [_clip(text) for text in scenes]
    frames = compose(Pipeline.from_pretrained(model), clips)
    video.write_gif(path, frames, FPS)
    click.echo(_size(path, MAX_FILM))
    if picture:
        _take_picture(out / "playground.png", model)
        click.echo(_size(out / "playground.png", MAX_PICTURE))


def _clip(text: str) -> tuple[str, Any]:
    import physics_sim

    name, _, index = text.partition(":")
    if not re.fullmatch(r"\d{1,6}", index or "0"):
        raise VDTError(f"--scene is SCENARIO or SCENARIO:INDEX, not {text!r}.")
    return name, physics_sim.make_clip(name, "val", int(index or 0))


def compose(pipeline: Any, clips: list[tuple[str, Any]]) -> np.ndarray:
    """The film (T + HOLD, H, W, 3) uint8: a column a clip, truth above what the model predicts, seed 0."""
    truth = np.stack([clip.frames for _, clip in clips])
    if truth.shape[1:4] != (pipeline.frames, *pipeline.size):
        raise VDTError(f"The film has clips of 16 frames of 64 x 64, and the model makes {pipeline.frames} others.")
    given = pipeline.frames // 2
    dreams = np.stack([pipeline.predict(one[:given], given=given, seed=0).frames for one in truth])
    titles = [name for name, _ in clips]
    drawn = [_page(titles, truth[:, t], dreams[:, t], t, given) for t in range(pipeline.frames)]
    return np.stack(drawn + drawn[-1:] * HOLD)


def _page(titles: list[str], truth: np.ndarray, dream: np.ndarray, frame: int, given: int) -> np.ndarray:
    """One frame of the film."""
    from PIL import Image, ImageDraw, ImageFont

    head, foot = 28, 30
    width, height = LEFT + len(titles) * (TILE + GAP), head + 2 * (TILE + GAP) + foot
    page = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for row, (label, frames) in enumerate((("truth", truth), ("dream", dream))):
        y = head + row * (TILE + GAP)
        pen.text((LEFT - 10, y + TILE / 2), label, INK, font, anchor="rm")
        for column, picture in enumerate(frames):
            x = LEFT + column * (TILE + GAP)
            tile = Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.NEAREST)
            page.paste(tile, (x, y))
            if row == 1:
                colour = GIVEN if frame < given else DREAMT
                pen.rectangle((x - 3, y - 3, x + TILE + 2, y + TILE + 2), outline=colour, width=3)
    for column, title in enumerate(titles):
        pen.text((LEFT + column * (TILE + GAP) + TILE / 2, head / 2), title, INK, font, anchor="mm")
    said, colour = ("given to the model", GIVEN) if frame < given else ("dreamt by the model", DREAMT)
    pen.text((LEFT, height - foot / 2), f"frame {frame + 1:2d}: {said}", colour, font, anchor="lm")
    return np.asarray(page)


# The picture of the page ---------------------------------------------------------------------------------------------


def _take_picture(path: Path, model: str) -> None:
    browser = find_browser()
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise VDTError("The picture needs Playwright: pip install playwright, or --no-picture.") from None
    if browser is None:
        raise VDTError("The picture needs a Chromium (apt-get install chromium), or --no-picture.")
    with served(model) as server, sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser, args=BROWSER_OPTIONS.split())
        page = opened.new_page(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
        page.add_init_script("localStorage.setItem('toured', 'yes')")
        page.goto(server.address)
        page.wait_for_selector("body[data-dreamt]", timeout=120_000)
        with video.atomic_path(path) as partial:
            page.screenshot(path=partial, type="png")
            _fewer_colours(partial)
        opened.close()


def _fewer_colours(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as image:
        made = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    made.save(path, format="PNG", optimize=True)


def _size(path: Path, most: int) -> str:
    size = path.stat().st_size
    note = f"; more than {most // 1000} kB, too large for the README" if size > most else ""
    return f"{path} ({size / 1000:.0f} kB{note})"


if __name__ == "__main__":
    from vdt_mlx.cli import run

    run(film, prog_name="python -m vdt_mlx.commands.film")
