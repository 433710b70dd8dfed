"""The playground's server: a page, a simulator and a dreamer, one job at a time.

Dreams are streamed as server-sent events. Of one page the newest wish wins: an older one of the same page stops at its
next network call; those of other pages wait their turn. All of MLX runs in one thread.
"""

import asyncio
import json
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from physics_sim.clip import Clip
from physics_sim.errors import SimulationError
from vdt_mlx.errors import VDTError
from vdt_mlx.play import pictures, presets
from vdt_mlx.play.dream import Cancelled, Dreamer, Result, read_wish
from vdt_mlx.play.guard import Guard
from vdt_mlx.play.scene import faults, read_scene
from vdt_mlx.reading import parse_json

WEB = Path(__file__).parent / "web"
MAX_PAGES = 16
"""Pages whose last dream is kept; the oldest is forgotten."""
MAX_WAITING = 32
PATIENCE = 10.0
"""Seconds that the start may wait for the first dream."""
FIRST_PAGE = "first"
"""What a page is called whose visitor sees the first dream, which was made before anybody came."""
FPS = 8
"""Of downloads: slow enough to follow."""
VIDEO_STARTS = {b"GIF8": ".gif", b"\x1aE\xdf\xa3": ".mkv", b"RIFF": ".avi", b"PK\x03\x04": ".npz"}


class Playground:
    """The state behind the pages."""

    def __init__(self, model: str, load: Callable[[str], Any]) -> None:
        self.thread = ThreadPoolExecutor(1, "dreamer")
        self.dreamer: Dreamer = self.thread.submit(Dreamer, model, load).result()
        self.first: dict[str, Any] | None = None
        self.first_result: Result | None = None
        self.newest: OrderedDict[str, int] = OrderedDict()
        self.results: OrderedDict[str, Result] = OrderedDict()
        self.count = 0
        self.waiting = 0

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    def make_first(self) -> None:
        """Makes the dream that every visitor sees first. A model that takes longer than PATIENCE goes on meanwhile."""

        def work() -> None:
            scene = presets.preset(presets.FIRST).scene
            read = read_scene(scene)
            event, self.first_result = self.dreamer.first_dream(read)
            self.first = {"scene": scene, "truth": _told(self.dreamer.clip(read)), "dream": event}

        wait([self.thread.submit(work)], PATIENCE)

    # ---- answers

    async def page(self, request: Request) -> Response:
        """The page, with what it must know in it, so that nothing is asked for before something is seen."""
        known = {**self.dreamer.about(), "presets": presets.names(), "preset": presets.FIRST, "first": self.first}
        text = (WEB / "index.html").read_text(encoding="utf-8")
        return HTMLResponse(text.replace("KNOWN", json.dumps(known).replace("<", "\\u003c"), 1))

    async def preset(self, request: Request) -> Response:
        name, number = request.path_params["name"], request.path_params["number"]
        if name not in {entry["name"] for entry in presets.names()}:
            raise VDTError("There is no such preset.")
        if number > 999:
            raise VDTError("Presets are numbered from 0 to 999.")
        found = await asyncio.to_thread(presets.preset, name, number)
        return JSONResponse({"scene": found.scene, "note": found.note})

    async def simulate(self, request: Request) -> Response:
        """The truth of a scene, or what in it cannot be simulated."""
        value = await _json(request)
        scene = read_scene(value.get("scene"))
        found = faults(scene)
        if found:
            return JSONResponse({"faults": [{"body": fault.body, "text": fault.text} for fault in found]})
        clip = await asyncio.to_thread(self.dreamer.clip, scene)
        return JSONResponse({"faults": [], **await asyncio.to_thread(_told, clip)})

    async def dream(self, request: Request) -> Response:
        value = await _json(request)
        scene = read_scene(value["scene"]) if value.get("scene") is not None else None
        found = faults(scene) if scene is not None else []
        if found:
            raise VDTError(f"{found[0].body}: {found[0].text}" if found[0].body else found[0].text)
        wish = read_wish(value, self.dreamer.cells, scene)
        if self.waiting >= MAX_WAITING:
            raise VDTError("Too many dreams are waiting: close some of the pages.")
        page = _page_of(value)
        self.count += 1
        number = self.count
        _remember(self.newest, page, number)
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()

        def tell(event: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        def work() -> None:
            try:
                result = self.dreamer.dream(wish, tell, lambda: gone.is_set() or self.newest.get(page) != number)
                _remember(self.results, page, result)
            except Cancelled:
                tell({"type": "cancelled"})
            except (VDTError, SimulationError) as error:
                tell({"type": "error", "error": str(error)})
            except Exception as error:
                tell({"type": "error", "error": f"The dream failed ({type(error).__name__})."})
                raise
            finally:
                loop.call_soon_threadsafe(events.put_nowait, None)

        async def stream() -> AsyncIterator[str]:
            self.waiting += 1
            try:
                yield _event({"type": "queued", "ahead": self.waiting - 1})
                self.thread.submit(work)
                while (event := await events.get()) is not None:
                    yield _event(event)
            finally:
                gone.set()
                self.waiting -= 1

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def video(self, request: Request) -> Response:
        """A clip of one's own: its bytes are the body."""
        body = await request.body()
        if len(body) < 16:
            raise VDTError("That file is empty.")
        suffix = next((kind for start, kind in VIDEO_STARTS.items() if body.startswith(start)), ".mp4")
        self.count += 1
        key = f"video-{self.count}"
        with tempfile.TemporaryDirectory(prefix="vdt-play-") as folder:
            path = Path(folder) / f"clip{suffix}"
            path.write_bytes(body)
            try:
                kept = await self.in_thread(self.dreamer.keep_video, path, key)
            except VDTError as error:
                raise VDTError(str(error).replace(str(path), "The file")) from None
        return JSONResponse(kept)

    async def download(self, request: Request) -> Response:
        """The last dream of a page beside its truth, as an animation."""
        page = request.query_params.get("page", "")[:40]
        result = self.first_result if page == FIRST_PAGE else self.results.get(page)
        if result is None:
            raise VDTError("There is no dream to keep yet.")
        kind = request.path_params["kind"]
        if kind not in ("gif", "mp4"):
            raise VDTError("A dream can be kept as gif or as mp4.")
        data = await asyncio.to_thread(_animation, result, kind)
        media = {"gif": "image/gif", "mp4": "video/mp4"}[kind]
        return Response(data, media_type=media, headers={"Content-Disposition": f'attachment; filename="dream.{kind}"'})


def build(playground: Playground, hosts: set[str] | None, token: str | None = None) -> Guard:
    """The application. `hosts`: names with port that it answers to; None: any (only with a token)."""
    app = Starlette(
        routes=[
            Route("/", playground.page),
            Route("/api/preset/{name}/{number:int}", playground.preset),
            Route("/api/simulate", playground.simulate, methods=["POST"]),
            Route("/api/dream", playground.dream, methods=["POST"]),
            Route("/api/video", playground.video, methods=["POST"]),
            Route("/api/download/{kind}", playground.download),
            Mount("/static", StaticFiles(directory=WEB)),
        ],
        exception_handlers={VDTError: _sentence, SimulationError: _sentence, ClientDisconnect: _gone},
    )
    return Guard(app, hosts, token)


async def _sentence(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


async def _json(request: Request) -> dict[str, Any]:
    value = parse_json(await request.body(), "The request")
    if not isinstance(value, dict):
        raise VDTError("The request is not an object of names and values.")
    return value


def _told(clip: Clip) -> dict[str, Any]:
    """What the page shows of the simulator's truth."""
    frames = clip.frames
    return {
        "frames": pictures.strip(frames),
        "paths": pictures.paths(frames),
        "touch": None if clip.scene.index("patient") is None else bool(clip.contact),
    }


def _page_of(value: dict[str, Any]) -> str:
    page = value.get("page", "")
    if not isinstance(page, str) or len(page) > 40:
        raise VDTError("The page's name is a text of at most 40 characters.")
    return page


def _remember(table: OrderedDict[str, Any], page: str, value: Any) -> None:
    table[page] = value
    table.move_to_end(page)
    while len(table) > MAX_PAGES:
        table.popitem(last=False)


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n"


def _animation(result: Result, kind: str) -> bytes:
    from vdt_mlx.media import pictures as sheets
    from vdt_mlx.media import video

    columns = {"truth": result.truth}
    columns |= {f"dream {i + 1}" if len(result.made) > 1 else "dream": made for i, made in enumerate(result.made)}
    frames = sheets.side_by_side(columns, result.mask)
    with tempfile.TemporaryDirectory(prefix="vdt-play-") as folder:
        path = Path(folder) / f"dream.{kind}"
        (video.write_gif if kind == "gif" else video.write_mp4)(path, frames, FPS)
        return path.read_bytes()
