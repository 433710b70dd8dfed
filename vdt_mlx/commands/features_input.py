"""What `vdt-mlx features` looks at: clips of files, folders and data sets, one at a time; bad ones are counted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.media import video
from vdt_mlx.media.folders import clip_entries
from vdt_mlx.media.streams import FFmpegError
from vdt_mlx.reading import read_json


@dataclass(frozen=True)
class Cut:
    """What is taken of each clip."""

    frames: int
    size: tuple[int, int]
    start: int = 0
    stride: int = 1
    fit: str = "crop"

    def of(self, clip: np.ndarray, name: str) -> np.ndarray:
        """(T, H, W, 3) of a clip's frames. Raises VDTError if it is too short."""
        taken = clip[self.start :: self.stride][: self.frames]
        if len(taken) < self.frames:
            needed = self.start + (self.frames - 1) * self.stride + 1
            raise VDTError(f"{name} has {len(clip)} frames, and {needed} are needed")
        return np.stack([video.fit(frame, self.size, name, self.fit) for frame in taken])


def clips(paths: tuple[Path, ...], cut: Cut, on_bad: Callable[[str], None]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (name, frames (T, H, W, 3) uint8) of every clip, in order; `on_bad` is told of each that is left out.

    A path is a clip, a folder of clips or of frames, a data set that `vdt-mlx simulate` wrote, or a file of PhyWorld.

    Raises VDTError for a path that holds no clips at all, whatever they are like.
    """
    for path in paths:
        yield from _of_path(path, cut, on_bad)


def count(paths: tuple[Path, ...]) -> int:
    """How many clips there are, as far as can be seen without reading them. Raises VDTError as `clips` does."""
    from physics_sim import SimulationError, phyworld
    from physics_sim.dataset_reader import describe

    total = 0
    for path in paths:
        try:
            if _is_phyworld(path):
                with phyworld.File(path) as file:
                    total += len(file)
            elif _is_data_set(path):
                total += describe(path)["clips"]
            else:
                total += len(_files(path))
        except SimulationError as error:
            raise VDTError(str(error)) from None
    return total


def _of_path(path: Path, cut: Cut, on_bad: Callable[[str], None]) -> Iterator[tuple[str, np.ndarray]]:
    import physics_sim
    from physics_sim import phyworld

    try:
        if _is_phyworld(path):
            with phyworld.File(path) as file:
                found = ((f"{path.name}#{clip.name}", clip.frames) for clip in file.clips(on_bad=on_bad))
                yield from _cut_all(found, cut, on_bad)
        elif _is_data_set(path):
            labelled = physics_sim.open_dataset(path)
            named = (("{scenario}-{split}-{index}".format(**labels), frames) for frames, labels in labelled)
            yield from _cut_all(named, cut, on_bad)
        else:
            yield from _of_files(path, cut, on_bad)
    except physics_sim.SimulationError as error:
        raise VDTError(str(error)) from None


def _cut_all(
    found: Iterator[tuple[str, np.ndarray]], cut: Cut, on_bad: Callable[[str], None]
) -> Iterator[tuple[str, np.ndarray]]:
    for name, frames in found:
        try:
            yield name, cut.of(frames, name)
        except VDTError as error:
            on_bad(str(error))


def _of_files(path: Path, cut: Cut, on_bad: Callable[[str], None]) -> Iterator[tuple[str, np.ndarray]]:
    files = _files(path)
    for file in files:
        name = file.relative_to(path).as_posix() if file != path else file.name
        try:
            yield name, video.read_clip(file, cut.frames, cut.size, start=cut.start, stride=cut.stride, how=cut.fit)
        except VDTError as error:
            if len(files) == 1 or isinstance(error, FFmpegError):
                raise
            on_bad(str(error))


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise VDTError(f"There is no file or folder {path}.")
    if not path.is_dir():
        return [path]
    found = clip_entries(path).paths
    if not found:
        raise VDTError(f"{path} holds no clips (videos, GIFs, npz files or folders of frames).")
    if any(file.suffix.lower() in video.VIDEO_SUFFIXES for file in found):
        video.check_ffmpeg()
    return found


def _is_phyworld(path: Path) -> bool:
    return path.suffix.lower() in (".hdf5", ".h5")


def _is_data_set(path: Path) -> bool:
    """Whether it is a folder that `vdt-mlx simulate` wrote."""
    index = path / "index.json"
    if not index.is_file():
        return False
    body = read_json(index, "index of a data set")
    return isinstance(body, dict) and "shards" in body


def batches(found: Iterator[tuple[str, np.ndarray]], size: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Clips in batches of at most `size`."""
    while part := list(islice(found, size)):
        yield tuple(name for name, _ in part), np.stack([frames for _, frames in part])
