"""Video files, read and written by the ffmpeg that imageio-ffmpeg carries.

Writing goes through imageio. Reading asks ffmpeg itself: imageio hides the decoder's messages, and they alone tell
which frames are damaged and whether a file was cut short.
"""

import itertools
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.media.images import check_side, composite

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
DEMUXERS = "mov,matroska,avi"
"""The containers that are opened, whatever a file's name says: no playlists, which name other files."""
MAX_RATE = 240
"""Frames a second: a file that claims more has time stamps that are finer than its frames."""
SEEK_SECONDS = 2.0
"""Of a video before the frame that is asked for, up to which it is decoded from its beginning."""

_UNREADABLE = "{path} is not a video that can be read: it is damaged, cut short or has no pictures."
_log = logging.getLogger("vdt_mlx.media")


class FFmpegError(VDTError):
    """ffmpeg is missing or broken; no video is at fault."""


@dataclass(frozen=True)
class Stream:
    """What ffmpeg says of a file's first film (cover pictures do not count)."""

    width: int
    height: int
    rate: float
    """Frames a second on average; 0 if it is not known."""
    ticks: float
    """The lowest rate that shows every frame at its time (ffmpeg's tbr); 0 if it is not known."""
    seconds: float
    """Of the file, its sound included; 0 if it is not known."""
    pixel_ratio: float
    """Width of a pixel over its height."""
    high_range: bool
    """Whether its colours are of high dynamic range."""
    sound: bool

    @property
    def highest_rate(self) -> float:
        """Frames a second that there are at most after pacing; 0 if it is not known."""
        return self.rate if self.fine else max(self.rate, self.ticks)

    @property
    def fine(self) -> bool:
        """Whether its time stamps are finer than its frames."""
        return bool(self.rate) and self.ticks > max(MAX_RATE, 2 * self.rate)


def check_ffmpeg() -> None:
    """Raises FFmpegError if ffmpeg is missing or cannot be started; it reads and writes all videos."""
    _working(_executable())


def probe(path: Path) -> Stream:
    """What there is in a video file. Raises VDTError if there is no film in it, FFmpegError if ffmpeg is at fault."""
    result = _run([_executable(), "-nostdin", "-hide_banner", *_input(path)])
    line = next((line for line in result.splitlines() if "Video: " in line and "(attached pic)" not in line), None)
    found = re.search(r"[ ,](\d+)x(\d+)[ ,\[]", line + " ") if line else None
    if line is None or found is None:
        check_ffmpeg()
        raise VDTError(_UNREADABLE.format(path=path))
    duration = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", result)
    hours, minutes, seconds = duration.groups() if duration else (0, 0, 0)
    ratio = re.search(r"SAR (\d+):(\d+)", line)
    wide, high = (int(part) for part in ratio.groups()) if ratio else (1, 1)
    return Stream(
        width=int(found[1]),
        height=int(found[2]),
        rate=_rate(line, "fps"),
        ticks=_rate(line, "tbr"),
        seconds=int(hours) * 3600 + int(minutes) * 60 + float(seconds),
        pixel_ratio=wide / high if wide and high else 1.0,
        high_range="smpte2084" in line or "arib-std-b67" in line,
        sound="Audio: " in result,
    )


def stream_frames(path: Path, start: int = 0) -> Generator[np.ndarray, None, None]:
    """The frames (H, W, 3) uint8 of a video from number `start` on, at equal time steps, upright, of square pixels.

    Time starts with the first picture, whenever the sound does. Damaged frames and an end that comes too early are
    reported through the logger `vdt_mlx.media`.

    Raises:
        VDTError: not a video, nothing in it can be decoded, or it is known to be too short for `start`.
        FFmpegError: ffmpeg is missing or broken.
    """
    stream = probe(path)
    check_side(stream.width, stream.height, path)
    if stream.high_range:
        _log.warning("Note: %s has colours of high dynamic range; they are shown paler than they are.", path)
    if stream.seconds and start > (stream.seconds + 10) * max(stream.rate, stream.ticks, MAX_RATE):
        raise VDTError(f"{path} has too few frames: it lasts {stream.seconds:.2f} s and frame {start} is asked for.")
    came = False
    if start > SEEK_SECONDS * stream.highest_rate > 0 and (origin := _first_time(path)) is not None:
        for frame in _decode(path, stream, start, origin):
            came = True
            yield frame
    if not came:
        yield from _decode(path, stream, start)


def _decode(
    path: Path, stream: Stream, start: int, origin: tuple[int, float] | None = None
) -> Generator[np.ndarray, None, None]:
    """What `stream_frames` yields; with the first picture's time, `origin`, not decoded from the beginning.

    Then nothing is yielded if what is before `start` was left out wrongly: some containers' indexes are not right.
    """
    with tempfile.TemporaryFile() as log:
        process = _start(_command(path, stream, start, origin), log)
        assert process.stdout is not None
        taken, whole = 0 if origin is None else start, False
        before = taken
        try:
            while (frame := _next_pam(process.stdout)) is not None:
                if origin is not None and taken == before and not _begins_before(log, start / stream.highest_rate):
                    return
                taken += 1
                if taken > start:
                    yield frame
            whole = True
        finally:
            process.stdout.close()
            process.kill()
            process.wait()
            if taken > before:
                log.seek(0)
                for remark in _remarks(path, log, stream, taken, whole):
                    _log.warning("Warning: %s: %s.", path, remark)
        if not taken:
            check_ffmpeg()
            raise VDTError(_UNREADABLE.format(path=path))


def write_mp4(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """An H.264 MP4 of (T, H, W, 3) uint8 frames; odd sides lose their last row or column, as the codec needs.

    Raises FFmpegError if ffmpeg is missing or broken.
    """
    import imageio.v3 as iio

    check_ffmpeg()
    frames = np.ascontiguousarray(frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2])
    with atomic_path(path) as partial:
        options: dict[str, Any] = {"fps": fps, "quality": 8, "macro_block_size": 1, "ffmpeg_log_level": "error"}
        try:
            iio.imwrite(partial.absolute(), frames, plugin="FFMPEG", **options)
        except OSError as error:
            if error.errno is not None and not isinstance(error, BrokenPipeError):
                raise
            raise FFmpegError(f"ffmpeg cannot write {path} ({_line(str(error))}).") from None
        try:  # imageio does not say how ffmpeg ended
            probe(partial)
        except VDTError:
            raise FFmpegError(f"ffmpeg could not write all of {path}; the disk may be full.") from None


# Running ffmpeg ------------------------------------------------------------------------------------------------------


def _executable() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise FFmpegError(
            "There is no ffmpeg, which reads and writes videos: reinstall imageio-ffmpeg, or name one in "
            "IMAGEIO_FFMPEG_EXE."
        ) from None


@lru_cache(maxsize=4)
def _working(executable: str) -> None:
    said = _run([executable, "-version"])
    if not said.startswith("ffmpeg version"):
        reason = f": {_line(said)}" if said.strip() else ""
        raise FFmpegError(
            f"The ffmpeg at {executable}, which reads and writes videos, cannot be used{reason}. Reinstall "
            "imageio-ffmpeg, or name a working one in IMAGEIO_FFMPEG_EXE."
        )


def _run(command: list[str]) -> str:
    with tempfile.TemporaryFile() as log:
        _start(command, log, to_log=True).wait()
        log.seek(0)
        return log.read(1 << 20).decode("utf-8", "replace")


def _start(command: list[str], log: IO[bytes], *, to_log: bool = False) -> subprocess.Popen:
    """ffmpeg in a session of its own, so that a Ctrl-C reaches us alone."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log if to_log else subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    except OSError as error:
        raise FFmpegError(
            f"The ffmpeg at {command[0]}, which reads and writes videos, cannot be started "
            f"({error.strerror or error}): reinstall imageio-ffmpeg, or name a working one in IMAGEIO_FFMPEG_EXE."
        ) from None


def _input(path: Path) -> list[str]:
    """A whole path, since ffmpeg takes `12:30.mp4` for a protocol and `-x.mp4` for an option."""
    return ["-protocol_whitelist", "file", "-format_whitelist", DEMUXERS, "-i", f"file:{path.absolute()}"]


def _first_time(path: Path) -> tuple[int, float] | None:
    """The time of the first picture as it stands in the file: in the stream's own unit, and in seconds."""
    command = [_executable(), "-nostdin", "-nostats", "-hide_banner", "-copyts", *_input(path), "-map", "0:V:0"]
    said = _run([*command, "-vf", "showinfo=checksum=0", "-frames:v", "1", "-f", "null", "-"])
    found = re.search(r"\] n: *0 pts: *(-?\d+) pts_time:(-?[\d.e+]+)", said)
    return (int(found[1]), float(found[2])) if found else None


def _begins_before(log: IO[bytes], seconds: float) -> bool:
    """Whether the first picture that ffmpeg decoded, by its log so far, is shown before this time."""
    # Not by `log.read`: ffmpeg goes on writing at the place in the file that both have in common.
    timed = _TIMED.search(os.pread(log.fileno(), 1 << 20, 0).decode("utf-8", "replace"))
    return timed is not None and float(timed[1]) < seconds - 1e-3


def _command(path: Path, stream: Stream, start: int = 0, origin: tuple[int, float] | None = None) -> list[str]:
    """Decodes the file; with `origin` from a picture before frame `start` that stands by itself, on the same grid of
    times, so that frame `start` is the first that comes out."""
    seek, choose = [], []
    filters = ["setpts=PTS-STARTPTS"]
    if origin is not None:
        seconds = start / stream.highest_rate
        seconds = origin[1] + seconds - 0.5 - 0.01 * seconds  # the rate is known to two digits
        seek = ["-copyts", "-seek_timestamp", "1", "-noaccurate_seek", "-ss", f"{max(origin[1], seconds):.3f}"]
        filters = [f"setpts=PTS-({origin[0]})"]
        choose = [f"select='gte(pts,{start})'"]  # after the filter that paces, a frame's time is its number
    if not 0.99 < stream.pixel_ratio < 1.01 and 0.1 < stream.pixel_ratio < 10:
        filters.append("scale=w='if(gt(sar,1),round(iw*sar),iw)':h='if(gt(sar,1),ih,round(ih/sar))',setsar=1")
    # By the filter, which goes by the pictures' times; ffmpeg's own pacing trusts the durations in the file.
    filters += [
        "showinfo=checksum=0",
        f"fps={stream.rate if stream.fine else 'source_fps'}",
        *choose,
        "format=rgb24|rgba",
    ]
    return [
        *(_executable(), "-nostdin", "-nostats", "-hide_banner", "-loglevel", "repeat+level+info"),
        *(*seek, *_input(path), "-map", "0:V:0", "-vf", ",".join(filters)),
        *("-fps_mode", "passthrough", "-c:v", "pam", "-f", "image2pipe", "-"),
    ]


def _next_pam(pipe: IO[bytes]) -> np.ndarray | None:
    """The next picture of a stream of PAM pictures; None at its end, or within a picture that is not whole."""
    fields: dict[bytes, int] = {}
    while (line := pipe.readline(100)) != b"ENDHDR\n":
        if not line:
            return None
        name, _, value = line.strip().partition(b" ")
        if value.isdigit():
            fields[name] = int(value)
    shape = fields[b"HEIGHT"], fields[b"WIDTH"], fields[b"DEPTH"]
    data = pipe.read(shape[0] * shape[1] * shape[2])
    if len(data) < shape[0] * shape[1] * shape[2]:
        return None
    frame = np.frombuffer(data, np.uint8).reshape(shape)
    return composite(frame) if shape[2] == 4 else frame


def _rate(line: str, unit: str) -> float:
    found = re.search(rf"(\d+(?:\.\d+)?)(k?) {unit}\b", line)
    return float(found[1]) * (1000 if found[2] else 1) if found else 0.0


# What ffmpeg remarked ------------------------------------------------------------------------------------------------

_TIMED = re.compile(r"\] n: *\d+ pts: *\S+ pts_time:(-?[\d.e+]+)")
_DECODED = re.compile(r"decoder -> .*?pts_time:(-?[\d.e+]+)")
_DAMAGE = re.compile(r"^(?!\[in#).*(?:\[(?:error|fatal)\]|corrupt decoded frame)")
"""By the decoder; the container's errors mean a cut."""
_CUT = re.compile(r"ended prematurely|partial file|[Pp]acket corrupt|corrupt input packet")


def _remarks(path: Path, log: IO[bytes], stream: Stream, taken: int, whole: bool) -> list[str]:
    """What is to be said of a decoded stream, from ffmpeg's log, the frames taken, and whether all were."""
    times, damaged, cut = [], False, False
    for line in itertools.dropwhile(lambda line: "Stream mapping:" not in line, _lines(log)):
        if timed := _TIMED.search(line):
            times.append(float(timed[1]))
        elif _CUT.search(line):
            cut = True
        elif _DAMAGE.search(line):
            damaged = damaged or whole or len(times) <= taken
    remarks = []
    if damaged and (frames := _damaged(path, stream, taken)):
        shown = ", ".join(str(frame) for frame in frames[:8]) + (" ..." if len(frames) > 8 else "")
        remarks.append(f"it is damaged: what is seen in frame {shown}, and perhaps after it, may be wrong")
    expected = round(stream.seconds * (stream.rate or stream.ticks))
    short = whole and not stream.sound and expected and taken < expected - max(1, expected // 50)
    if whole and (cut or short):
        of = f" of about {expected}" if short else ""
        remarks.append(f"it is cut short: {taken}{of} frames can be read")
    steps = np.diff(times[: max(taken, 2)])
    usual = max(float(np.median(steps)), 1e-9) if len(steps) else 1.0
    if len(steps) > 2 and steps.max() > 1.5 * usual:
        late = ", ".join(str(round(times[i] / usual)) for i in sorted(np.argsort(-steps)[:3]) if steps[i] > 1.5 * usual)
        remarks.append(f"its frame rate varies: the picture stands still for longer after frame {late}")
    return remarks


def _damaged(path: Path, stream: Stream, taken: int) -> list[int]:
    """The numbers of the damaged frames among the first `taken`, by decoding once more on one thread, in order."""
    command = [_executable(), "-nostdin", "-nostats", "-hide_banner", "-loglevel", "repeat+level+info", "-debug_ts"]
    command += ["-threads", "1", *_input(path), "-map", "0:V:0", "-frames:v", str(max(taken, 1)), "-f", "null", "-"]
    first, marked, near = None, [], []
    corrupt = doubt = False
    with tempfile.TemporaryFile() as log:
        _start(command, log, to_log=True).wait()
        log.seek(0)
        for line in itertools.dropwhile(lambda line: "Stream mapping:" not in line, _lines(log)):
            if decoded := _DECODED.search(line):
                time = float(decoded[1])
                first = time if first is None else first
                frame = round((time - first) * (stream.rate or stream.ticks))
                marked += [frame] if corrupt else []
                near += [frame] if doubt else []
                corrupt = doubt = False
            elif "corrupt decoded frame" in line:
                corrupt = True
            elif _DAMAGE.search(line):
                doubt = True
    return [frame for frame in sorted(set(marked or near)) if frame < taken]


def _lines(log: IO[bytes]) -> Iterator[str]:
    for raw in log:
        yield raw.decode("utf-8", "replace")


def _line(text: str) -> str:
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:200]
