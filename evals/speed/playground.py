"""The playground under load: many dreams, their time beside the bare library's, the server's memory, a smooth page.

Times on a machine with other work are noisy, so each dream that is compared is made twice, one after the other: through
the server and by the library in this process. The ratio of such a pair is what counts.
"""

import http.client
import json
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.speed.output import Chart, Table, progress
from vdt_mlx.device.cpu_streams import lanes
from vdt_mlx.errors import VDTError
from vdt_mlx.pipeline import Pipeline
from vdt_mlx.play import presets
from vdt_mlx.play.process import BROWSER_OPTIONS, Served, find_browser, served
from vdt_mlx.play.scene import drawn_clip, read_scene
from vdt_mlx.reading import parse_json

SCENARIOS = ("collide", "drop", "roll", "dominoes", "contain")
SETTLED = 10
"""Dreams after which memory is taken for the first time: until then caches fill."""
COUNT_FRAMES = """
async (dream) => {
  const times = [];
  let on = true;
  const note = (now) => { times.push(now); if (on) requestAnimationFrame(note); };
  requestAnimationFrame(note);
  if (dream) {
    const before = document.body.dataset.dreamt;
    document.getElementById('again').click();
    while (document.body.dataset.dreamt === before) await new Promise((done) => setTimeout(done, 20));
  } else await new Promise((done) => setTimeout(done, 2000));
  on = false;
  return times;
}
"""


@dataclass(frozen=True)
class Timed:
    """One dream: seconds until the first preview and until all of it was there."""

    preview: float
    whole: float


def measure(model: str, dreams: int, pairs: int, browser: bool) -> tuple[list[Table], dict[str, Any], list[Chart]]:
    """Makes `dreams` dreams of simulated scenes through a server, the first `pairs` of them by the library too."""
    pipeline = Pipeline.from_pretrained(model)
    mask = pipeline.task_mask("predict")
    timed: list[Timed] = []
    bare: list[float] = []
    memory: list[tuple[float, float]] = []
    with served(model) as server:
        for number in progress(range(dreams), "dreams"):
            scene = presets.preset(SCENARIOS[number % len(SCENARIOS)], number // len(SCENARIOS)).scene
            timed.append(_dream(server, scene, mask))
            if number < pairs:
                bare.append(_bare(pipeline, scene, mask))
            memory.append((number + 1, _resident(server.pid)))
        smooth = _smooth(server) if browser else None
    ratios = [one.whole / alone for one, alone in zip(timed, bare, strict=False)]
    early, late = memory[min(SETTLED, dreams) - 1][1], memory[-1][1]
    rows: list[tuple[str, Any]] = [
        ("a dream through the server, s (median)", statistics.median(one.whole for one in timed)),
        ("its first preview, s (median)", statistics.median(one.preview for one in timed)),
        ("the same by the library alone, s (median)", statistics.median(bare) if bare else None),
        ("server / library (median of pairs)", statistics.median(ratios) if ratios else None),
        (f"server's memory after {min(SETTLED, dreams)} dreams, MiB", early),
        (f"server's memory after {dreams} dreams, MiB", late),
        ("server's memory at most, MiB", max(value for _, value in memory)),
    ]
    if smooth is not None:
        rows += [("frames a second, nothing dreamt", smooth[0]), ("frames a second, while it dreams", smooth[1])]
    table = Table(f"The playground over {dreams} dreams", ("", "measured"), list(rows))
    body = {
        "dreams": dreams,
        "measured": dict(rows),
        "seconds": [one.whole for one in timed],
        "preview_seconds": [one.preview for one in timed],
        "library_seconds": bare,
        "memory_mib": [value for _, value in memory],
    }
    chart = Chart("Memory of the playground's server", "dreams", "MiB", {"resident": memory})
    return [table], body, [chart]


def _dream(server: Served, scene: dict[str, Any], mask: np.ndarray) -> Timed:
    rows = ["".join("1" if cell else "0" for cell in frame.ravel()) for frame in mask]
    body = json.dumps({"page": "speed", "scene": scene, "mask": rows, "seeds": [0]})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    began = time.perf_counter()
    preview = float("nan")
    connection.request("POST", "/api/dream", body)
    for line in connection.getresponse():
        told = parse_json(line.removeprefix(b"data: ")) if line.strip() else {}
        if told.get("type") == "step" and preview != preview:
            preview = time.perf_counter() - began
        if "error" in told:
            raise VDTError(f"The playground refused a dream: {told['error']}")
    whole = time.perf_counter() - began
    connection.close()
    return Timed(preview if preview == preview else whole, whole)


def _bare(pipeline: Pipeline, scene: dict[str, Any], mask: np.ndarray) -> float:
    """Seconds of the same work without a server: simulate, draw, generate."""
    began = time.perf_counter()
    frames = drawn_clip(read_scene(scene), pipeline.frames, pipeline.size[0]).frames
    known = np.where(mask.reshape(len(mask), -1).max(1)[:, None, None, None] > 0, np.uint8(0), frames)
    with lanes():
        pipeline.fill(known[None], mask, seeds=[0])
    return time.perf_counter() - began


def _resident(pid: int) -> float:
    """Resident memory of a process, MiB."""
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)], text=True)) / 1024


def _smooth(server: Served) -> tuple[float, float] | None:
    """Frames a second that Chromium draws of the page: with nothing to do, and while a dream is made."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return None
    path = find_browser()
    if path is None:
        return None
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=path, args=BROWSER_OPTIONS.split())
        page = opened.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(600_000)
        page.add_init_script("localStorage.setItem('toured', 'yes')")
        page.goto(server.address)
        page.wait_for_selector("body[data-dreamt]")
        page.uncheck("#ask")
        rates = [_rate(page.evaluate(COUNT_FRAMES, dream)) for dream in (False, True)]
        opened.close()
    return rates[0], rates[1]


def _rate(times: list[float]) -> float:
    """Frames a second from their times in milliseconds."""
    return 1000 * (len(times) - 1) / (times[-1] - times[0])
