"""The report's gallery: truth and prediction beside each other, as moving pictures with the objects' paths."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evals.report.table import Table, number, span


@dataclass(frozen=True)
class Picture:
    """A clip for the gallery. Frames (T, H, W, 3) uint8; paths (T, N, 2) pixels, NaN where absent."""

    clip: str
    rank: str
    frames: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    truth: NDArray[np.float64]
    path: NDArray[np.float64]
    colours: list[tuple[int, int, int]]
    ade: float
    facts: str


def gallery(body: dict[str, Any], pictures: dict[str, list[Picture]]) -> dict[str, Any] | None:
    """What the report shows of each group's clips; None without pictures."""
    if not pictures:
        return None
    table, model = Table(body), body["model"]
    scenarios = []
    for group in body["suite"]["groups"]:
        clips = pictures.get(group["name"])
        if not clips:
            continue
        row, contact = table.row(model, group["name"], "ade"), table.row(model, group["name"], "contact")
        said = f"ADE {number(row['mean'])} px ({span(row)})" if row else ""
        if contact:
            said += f", contact question {number(contact['mean'], 'contact')} right"
        entries = [_clip(picture, table.given) for picture in clips]
        scenarios.append({"title": group["title"], "said": said, "clips": entries})
    frames = len(next(iter(pictures.values()))[0].frames)
    return {"given": table.given, "frames": frames, "scenarios": scenarios}


def _clip(picture: Picture, given: int) -> dict[str, Any]:
    panels = [
        {"strip": strip(frames), "paths": Markup(lines)}  # numbers alone: nothing in there is anybody's text
        for frames, lines in (
            (picture.frames, _paths(picture.truth, None, picture.colours, given)),
            (picture.predicted, _paths(picture.path, picture.truth, picture.colours, given)),
        )
    ]
    return {
        "clip": picture.clip,
        "rank": picture.rank,
        "ade": number(picture.ade),
        "count": len(picture.frames),
        "size": picture.frames.shape[1],
        "panels": panels,
        "facts": picture.facts,
    }


def _paths(
    path: NDArray[np.float64], truth: NDArray[np.float64] | None, colours: list[tuple[int, int, int]], given: int
) -> str:
    drawn = []
    for n, colour in enumerate(colours):
        if truth is not None:
            drawn += [f'<polyline class="was" points="{run}"/>' for run in _runs(truth[given - 1 :, n])]
        dark = "#{:02x}{:02x}{:02x}".format(*(round(0.72 * value) for value in colour))
        for run in _runs(path[given - 1 :, n]):
            drawn.append(f'<polyline class="halo" points="{run}"/><polyline stroke="{dark}" points="{run}"/>')
    return "".join(drawn)


def _runs(points: NDArray[np.float64]) -> Iterable[str]:
    """The unbroken stretches of a path, as SVG points; a path that never moves is no line."""
    run: list[str] = []
    if np.nanmax(np.ptp(points[np.isfinite(points[:, 0])], axis=0), initial=0) < 0.5:
        return
    for x, y in [*points.tolist(), (np.nan, np.nan)]:
        if np.isfinite(x):
            run.append(f"{x:.1f},{y:.1f}")
            continue
        if len(run) > 1:
            yield " ".join(run)
        run = []


def strip(frames: NDArray[np.uint8]) -> str:
    """All frames side by side as one picture, in a data URI: the page shows one at a time."""
    from PIL import Image, features

    image = Image.fromarray(np.concatenate(list(frames), axis=1))
    data = io.BytesIO()
    if features.check("webp"):
        image.save(data, "WEBP", quality=90, method=4)
        kind = "webp"
    else:
        image.quantize(128).save(data, "PNG", optimize=True)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"
