"""Video streams as cameras, browsers and bad copies make them."""

import logging
import os
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from vdt_mlx.errors import VDTError
from vdt_mlx.media import streams, video
from vdt_mlx.media.streams import FFmpegError

SOURCE = "testsrc=s=96x64:r=10:d=2"
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")


def make(path, *arguments):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *arguments, str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    codecs = {"mp4": X264, "mkv": X264, "webm": ("-c:v", "libvpx"), "avi": ("-c:v", "mpeg4")}
    return {kind: make(folder / f"a.{kind}", "-f", "lavfi", "-i", SOURCE, *codec) for kind, codec in codecs.items()}


def frames(path) -> np.ndarray:
    return np.stack(list(streams.stream_frames(path)))


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "avi"])
def test_whole_files_are_read_without_a_word(good, kind, caplog) -> None:
    assert frames(good[kind]).shape == (20, 64, 96, 3)
    assert not caplog.records


def test_frames_are_those_that_imageio_reads(good) -> None:
    import imageio.v3 as iio

    assert np.array_equal(frames(good["mp4"]), iio.imread(good["mp4"], plugin="FFMPEG"))


@pytest.mark.parametrize("kind", ["mkv", "webm", "avi"])
def test_a_cut_file_is_said_to_be_cut(good, kind, tmp_path, caplog) -> None:
    path = tmp_path / f"cut.{kind}"
    data = good[kind].read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    count = len(frames(path))
    assert 2 < count < 20
    assert f"cut short: {count}" in caplog.text


def test_damage_in_the_middle_names_the_frame(good, tmp_path, caplog) -> None:
    path = tmp_path / "bad.avi"
    data = bytearray(good["avi"].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60] = bytes(byte ^ 0x5A for byte in data[middle : middle + 60])
    path.write_bytes(data)
    whole = frames(good["avi"])
    with caplog.at_level(logging.WARNING):
        read = frames(path)
    first = next(i for i in range(20) if not np.array_equal(read[i], whole[i]))
    assert f"damaged: what is seen in frame {first}" in caplog.text


def test_damage_that_is_not_read_is_not_reported(good, tmp_path, caplog) -> None:
    path = tmp_path / "bad.avi"
    data = bytearray(good["avi"].read_bytes())
    data[-2000:-1900] = bytes(100)
    path.write_bytes(data)
    assert len(video.read_clip(path, 2, (64, 96))) == 2
    assert not caplog.records


def test_time_starts_with_the_first_picture(good, tmp_path) -> None:
    for kind in ("mp4", "mkv"):
        sound = ("-f", "lavfi", "-i", "sine=d=3", "-itsoffset", "1", "-f", "lavfi", "-i", SOURCE)
        path = make(tmp_path / f"late.{kind}", *sound, "-map", "0:a", "-map", "1:v", *X264)
        read = frames(path)
        assert len(read) == 20
        assert not np.array_equal(read[0], read[1])


def test_oblong_pixels_and_rotation(good, tmp_path) -> None:
    wide = make(tmp_path / "sar.mp4", "-f", "lavfi", "-i", SOURCE, "-vf", "setsar=2", *X264)
    assert frames(wide).shape == (20, 64, 192, 3)
    tall = make(tmp_path / "sar2.mp4", "-f", "lavfi", "-i", SOURCE, "-vf", "setsar=1/2", *X264)
    assert frames(tall).shape == (20, 128, 96, 3)
    turned = make(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", str(good["mp4"]), "-c", "copy")
    assert np.array_equal(frames(turned), np.rot90(frames(good["mp4"]), axes=(1, 2)))


def test_a_variable_rate_is_evened_out_and_said(tmp_path, caplog) -> None:
    gap = "select='not(between(n,5,9))'"
    path = make(tmp_path / "vfr.mp4", "-f", "lavfi", "-i", SOURCE, "-vf", gap, "-fps_mode", "vfr", *X264)
    read = frames(path)
    assert len(read) == 20
    assert all(np.array_equal(read[4], read[i]) for i in range(5, 10))
    assert not np.array_equal(read[9], read[10])
    assert "stands still for longer after frame 4" in caplog.text


def test_transparent_pixels_are_white(tmp_path) -> None:
    clear = ("-vf", "format=rgba,colorchannelmixer=aa=0", "-c:v", "qtrle")
    assert (frames(make(tmp_path / "a.mov", "-f", "lavfi", "-i", SOURCE, *clear)) == 255).all()


def test_a_cover_picture_is_no_film(tmp_path, good) -> None:
    cover = make(tmp_path / "c.png", "-f", "lavfi", "-i", SOURCE, "-frames:v", "1")
    song = make(tmp_path / "song.m4a", "-f", "lavfi", "-i", "sine=d=1")
    inputs = ("-i", str(song), "-i", str(cover), "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0")
    path = make(tmp_path / "song.mp4", *inputs, "attached_pic")
    with pytest.raises(VDTError, match="has no pictures"):
        frames(path)


@pytest.mark.parametrize("name", ["12:30.mp4", "-x.mp4", "a%03d.mp4", "concat:b.mp4", "ü ' \" ;.mp4"])
def test_names_that_ffmpeg_takes_for_something_else(good, tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    os.link(good["mp4"], name)
    assert video.read_clip(name, 3, (64, 96)).shape == (3, 64, 96, 3)
    video.write_mp4(name, np.full((4, 16, 16, 3), 90, np.uint8), 8)
    assert video.read_clip(name, 4, (16, 16)).shape == (4, 16, 16, 3)


def test_a_playlist_that_names_other_files_is_not_followed(good, tmp_path) -> None:
    path = tmp_path / "a.mp4"
    for text in (f"ffconcat version 1.0\nfile {good['mp4']}\n", f"#EXTM3U\n#EXTINF:2,\n{good['mp4']}\n"):
        path.write_text(text)
        with pytest.raises(VDTError, match="not a video"):
            frames(path)


@pytest.mark.parametrize("kind", ["missing", "broken", "no program"])
def test_a_bad_ffmpeg_is_said_to_be_that(good, tmp_path, monkeypatch, kind) -> None:
    program = tmp_path / "ffmpeg"
    if kind != "missing":
        program.write_text("#!/bin/sh\nexit 127\n" if kind == "broken" else "hello")
        program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(FFmpegError, match="IMAGEIO_FFMPEG_EXE"):
        frames(good["mp4"])
    with pytest.raises(FFmpegError, match="IMAGEIO_FFMPEG_EXE"):
        video.write_mp4(tmp_path / "out.mp4", np.zeros((4, 16, 16, 3), np.uint8), 8)
    assert not (tmp_path / "out.mp4").exists()


def test_a_start_beyond_the_end_is_answered_at_once(good) -> None:
    for start in (10**6, 10**11, 10**30):
        with pytest.raises(VDTError):
            video.read_clip(good["mp4"], 2, (64, 96), start=start)


SOUGHT = {
    "ntsc.mp4": ("testsrc=size=48x32:rate=30000/1001:duration=5", "null"),
    "varying.mkv": ("testsrc=size=48x32:rate=25:duration=6", "select='not(mod(n,7))+lt(mod(n,50),9)'"),
    "late.avi": ("testsrc=size=48x32:rate=25:duration=5", "setpts=PTS+3/TB"),
}


@pytest.mark.parametrize("name", SOUGHT)
def test_a_late_start_is_sought_and_gives_the_same_frames(name, tmp_path, monkeypatch) -> None:
    source, change = SOUGHT[name]
    codec = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "20", "-bf", "2", "-fps_mode", "vfr")
    make(tmp_path / name, "-f", "lavfi", "-i", source, "-vf", change, *codec)
    whole = frames(tmp_path / name)
    begun = []
    command = streams._command
    monkeypatch.setattr(streams, "_command", lambda *said: begun.append(said[2:]) or command(*said))
    start = len(whole) - 31
    found = np.stack(list(streams.stream_frames(tmp_path / name, start)))
    assert np.array_equal(found, whole[start:])
    assert [origin is not None for _, origin in begun] == [True], "decoded once, and not from the beginning"
    monkeypatch.setattr(streams, "_begins_before", lambda log, seconds: False)  # an index that is wrong
    assert np.array_equal(next(streams.stream_frames(tmp_path / name, start)), whole[start])
    assert begun[-1][1] is None
