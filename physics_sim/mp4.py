"""MP4 streams in memory: h264, yuv420p, 10 frames a second, by the ffmpeg that imageio-ffmpeg brings."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from physics_sim.errors import SimulationError

FPS = 10
LARGEST_SIDE = 1024
"""Pixels; larger pictures are made smaller, so that a stream cannot ask for any amount of memory."""
SECONDS = 60.0
"""For one clip; then the stream is taken to be broken."""


def _ffmpeg(*arguments: str, stdin: bytes | None = None) -> bytes:
    """What ffmpeg writes to its output; raises ValueError with its own words if it fails."""
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise SimulationError(f"MP4 needs ffmpeg, and there is none: pip install imageio-ffmpeg ({error}).") from None
    command = [program, "-v", "error", "-nostdin" if stdin is None else "-y", *arguments]
    try:
        run = subprocess.run(command, input=stdin, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f"ffmpeg did not end in {SECONDS:.0f} seconds") from None
    except OSError as error:
        raise SimulationError(f"ffmpeg cannot be started ({error}).") from None
    words = run.stderr.decode("utf-8", "replace").strip().splitlines()
    if run.returncode or words:
        raise ValueError(_plain(words[-1]) if words else f"ffmpeg ended with {run.returncode}")
    return run.stdout


def _plain(text: str) -> str:
    return "".join(sign for sign in text if sign.isprintable())[:200]


def encode(frames: np.ndarray) -> bytes:
    """(T, H, W, 3) uint8, with even sides, as an MP4; the same frames give the same bytes."""
    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory(prefix="physics_sim-") as folder:
        path = Path(folder) / "clip.mp4"
        raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FPS), "-i", "-")
        exact = ("-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1")
        _ffmpeg(
            *raw,
            *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "17"),
            *exact,
            str(path),
            stdin=np.ascontiguousarray(frames).tobytes(),
        )
        return path.read_bytes()


def decode(stream: bytes, count: int) -> np.ndarray:
    """The (count, H, W, 3) uint8 frames of an MP4. Raises ValueError if it is broken or has not so many frames."""
    with tempfile.TemporaryDirectory(prefix="physics_sim-") as folder:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(stream)
        limit = f"scale=w='min({LARGEST_SIDE},iw)':h='min({LARGEST_SIDE},ih)'"
        options = ("-map", "0:v:0", "-vf", limit, "-frames:v", str(count + 1), "-fps_mode", "passthrough")
        # As a PPM sequence: each frame says how large it is.
        body = _ffmpeg("-f", "mp4", "-i", str(path), *options, "-f", "image2pipe", "-c:v", "ppm", "-")
    frames = []
    while body:
        head = body[:32].split(b"\n", 3)
        try:
            width, height = (int(number) for number in head[1].split())
        except (IndexError, ValueError):
            raise ValueError("ffmpeg gave something else than frames") from None
        first = sum(len(line) + 1 for line in head[:3])
        last = first + 3 * width * height
        frames.append(np.frombuffer(body[first:last], np.uint8).reshape(height, width, 3))
        body = body[last:]
    if len(frames) != count:
        many = "more" if len(frames) > count else str(len(frames))
        raise ValueError(f"it has {many} frames, and there are {count} states")
    return np.stack(frames)
