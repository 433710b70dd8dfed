"""Features: what a named layer of the diffusion network, or of the autoencoder, makes of clips.

    features = Pipeline.from_pretrained("physics").features("my.mp4", block="blocks.3", timestep=250)
    features.values                  # (1, T, D)
    features.save("my-features.npz")

Layers are found by calling the network once and seeing which of its modules are asked, so a layer that is added to it
has a name here. Readouts on such features are how Physion asks about contact (arXiv 2106.08261, section 4).
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from vdt_mlx.device.cpu_streams import lanes
from vdt_mlx.engine import Engine
from vdt_mlx.errors import VDTError
from vdt_mlx.network import conditioning

NETWORK, AUTOENCODER = "network", "autoencoder"
PARTS = (NETWORK, AUTOENCODER)
POOLS = ("frame", "clip", "none")
"""A vector a frame (the mean over its places), a vector a clip (the mean over frames too), or every place."""
TIMESTEP = 250.0
"""Of the network, by default: some noise, so that the network has something to do, and little enough to see objects."""
LATENTS = "latents"
"""Of the autoencoder: what the network gets."""


@dataclass(frozen=True)
class Asked:
    """Which features; `None` is filled in by `resolved`."""

    part: str = NETWORK
    block: str | None = None
    """A layer's name; the middle block of the network, or the autoencoder's latents, by default."""
    timestep: float | None = None
    """Of the network, 0 (clean) to the schedule's end (noise)."""
    given: int | None = None
    """How many first frames the network gets clean, as context, 0 to all; the others get the noise of the timestep.
    Half of them by default."""
    blind: bool = False
    """Whether the other frames are nothing but noise, at the noisiest timestep: features of the given frames alone."""
    pool: str = "frame"
    seed: int = 0
    """Of the noise, which is the same for every clip."""

    def resolved(self, engine: Engine, frames: int) -> "Asked":
        """With all that is left open filled in, for clips of so many frames. Raises VDTError for what does not fit."""
        if self.part not in PARTS:
            raise VDTError(f"There is no part {self.part!r}: features are of the {' or the '.join(PARTS)}.")
        if self.pool not in POOLS:
            raise VDTError(f"Features are pooled by {', '.join(POOLS)}, not by {self.pool!r}.")
        if not 0 <= self.seed < 1 << 63:
            raise VDTError(f"The seed {self.seed} does not fit: 0 to 2^63 - 1.")
        asked = replace(self, block=_checked(engine, self.part, self.block))
        if self.part == AUTOENCODER:
            if self.timestep is not None or self.given is not None or self.blind:
                raise VDTError("The autoencoder sees clean frames one by one: it has no timestep and no given frames.")
            return asked
        noisiest = engine.schedule.max_timestep
        if self.blind and self.timestep is not None:
            raise VDTError("Features of the given frames alone are taken at the noisiest timestep; there is no other.")
        timestep = noisiest if self.blind else TIMESTEP if self.timestep is None else float(self.timestep)
        if not 0 <= timestep <= noisiest:
            raise VDTError(f"The timestep {timestep:g} does not fit: this model's are 0 to {noisiest:g}.")
        given = max(1, frames // 2) if self.given is None else self.given
        if not (1 if self.blind else 0) <= given <= frames:
            raise VDTError(f"{given} given frames do not fit a clip of {frames}.")
        return replace(asked, timestep=timestep, given=given)


@dataclass(frozen=True)
class Features:
    """Features of clips, with how they were made."""

    values: np.ndarray
    """float32: (B, T, D) with one vector a frame, (B, D) with one a clip, (B, T, h, w, D) with all places. A layer that
    makes one vector a clip, such as the timestep's embedding, always gives (B, D)."""
    settings: dict[str, Any]
    names: tuple[str, ...] = field(default=())
    """Of the clips."""

    def save(self, path: str | Path) -> Path:
        """An npz with the arrays `features`, `names` and `settings` (JSON), whole or not at all; returns the path."""
        from vdt_mlx.media.video import write_npz

        path = Path(path)
        names = np.array(self.names or tuple(str(i) for i in range(len(self.values))))
        write_npz(path, features=self.values, names=names, settings=np.array(json.dumps(self.settings)))
        return path


def blocks(engine: Engine, part: str = NETWORK) -> dict[str, tuple[int, ...]]:
    """The layers of a part that have features, in the order in which they work, with the shape for one clip."""
    height, width = engine.size
    if part == AUTOENCODER:
        call = partial(_autoencode, engine, np.zeros((1, height, width, 3), np.uint8))
    else:
        x = mx.zeros((1, *engine.cells, engine.config.vdt.in_channels))
        call = partial(_ask, engine, x, mx.zeros(1), x, mx.ones((1, *engine.cells)))
    root = engine.autoencoder if part == AUTOENCODER else engine.vdt
    with recorded(root) as seen:
        result = call()
    found = {name: tuple(calls[-1].shape) for name, calls in seen.items()}
    return {**found, LATENTS: tuple(result.shape)} if part == AUTOENCODER else found


def compute(engine: Engine, frames: np.ndarray, asked: Asked) -> np.ndarray:
    """Features (see `Features.values`) of clips (B, T, H, W, 3) uint8 of the model's size.

    `asked` is resolved for so many frames. The same clips give the same bytes on the same machine.
    """
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
        raise VDTError(f"Clips are uint8 of (clips, frames, height, width, 3), not {frames.dtype} of {frames.shape}.")
    if asked.part == AUTOENCODER:
        return _of_autoencoder(engine, frames, asked)
    return _of_network(engine, frames, asked)


# Seeing what layers make -------------------------------------------------------------------------------------------


@contextmanager
def recorded(root: nn.Module, only: str | None = None) -> Iterator[dict[str, list[mx.array]]]:
    """What every module of `root` (or the one called `only`) answers when it is called, by its dotted name.

    Yields a dictionary that fills as calls are made: name -> the answers, in order. MLX computes lazily, so answers
    that nobody looks at cost nothing.
    """
    seen: dict[str, list[mx.array]] = {}
    changed: list[tuple[nn.Module, type]] = []
    try:
        for name, module in root.named_modules():
            kind = type(module)
            if not name or (only is not None and name != only) or "__call__" not in dir(kind):
                continue
            # A module is called by its class, so for the time being it has one of its own.
            changed.append((module, kind))
            object.__setattr__(
                module, "__class__", type(kind.__name__, (kind,), {"__call__": _telling(kind, name, seen)})
            )
        yield seen
    finally:
        for module, kind in changed:
            object.__setattr__(module, "__class__", kind)


def _telling(kind: type, name: str, seen: dict[str, list[mx.array]]) -> Callable[..., Any]:
    original = kind.__call__

    def call(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        answer = original(self, *arguments, **options)
        if isinstance(answer, mx.array):
            seen.setdefault(name, []).append(answer)
        return answer

    return call


def _ask(engine: Engine, x: mx.array, t: mx.array, clean: mx.array, mask: mx.array) -> mx.array:
    config = engine.config.vdt
    y = mx.full(x.shape[0], config.num_classes, mx.int32) if config.labels else None
    return engine.vdt(x, t, (clean, mask), y)


def _autoencode(engine: Engine, images: np.ndarray) -> mx.array:
    """Images (N, H, W, 3) uint8 -> normalised latents; the decoder is asked too, so that its layers are seen."""
    raw = engine.autoencoder.encode(mx.array(images).astype(mx.float32) * (2.0 / 255.0) - 1.0)
    engine.autoencoder.decode(raw)
    return engine.autoencoder.normalize(raw)


# Features ----------------------------------------------------------------------------------------------------------


def _of_network(engine: Engine, frames: np.ndarray, asked: Asked) -> np.ndarray:
    assert asked.block is not None and asked.timestep is not None and asked.given is not None
    batch, count = frames.shape[:2]
    mask = np.ones((batch, count, *engine.cells[1:]), np.float32)
    mask[:, : asked.given] = 0
    conditioning.check_mask(engine.config.vdt, mask)
    clean = engine.encode_given(frames, mask) if asked.blind else engine.encode(frames).astype(mx.float32)
    noise = mx.broadcast_to(mx.random.normal(clean.shape[1:], key=mx.random.key(asked.seed)), clean.shape)
    t = np.full(batch, asked.timestep)
    noisy = noise if asked.blind else engine.schedule.add_noise(clean, noise, t)
    cells = mx.array(mask)[..., None]
    x = clean * (1 - cells) + noisy * cells
    with recorded(engine.vdt, asked.block) as seen:
        _ask(engine, x[:1], mx.array(t[:1]), clean[:1], mx.array(mask[:1]))
        each = len(seen[asked.block])  # calls of this layer in one of the network: the last is the stream's
        seen.clear()
        # Clips side by side on a CPU's cores. Of a single clip they would share out what is inside a block.
        with lanes(None if batch > 1 else 1):
            _ask(engine, x, mx.array(t), clean * (1 - cells), mx.array(mask))
            answer = mx.concatenate(seen[asked.block][each - 1 :: each])
            mx.eval(answer)
    grid = tuple(side // engine.config.vdt.patch_size for side in clean.shape[2:4])
    return _pooled(answer, (batch, count, *grid), asked.pool)


def _of_autoencoder(engine: Engine, frames: np.ndarray, asked: Asked) -> np.ndarray:
    assert asked.block is not None
    batch, count = frames.shape[:2]
    rows = []
    for clip in frames:
        if asked.block == LATENTS:
            answer = engine.encode(clip[None])[0]
        else:
            with recorded(engine.autoencoder, asked.block) as seen:
                _autoencode(engine, clip)
            answer = seen[asked.block][-1]
        mx.eval(answer)
        rows.append(answer)
    places = rows[0].shape[1:-1]
    return _pooled(mx.stack(rows), (batch, count, *places), asked.pool)


def _pooled(answer: mx.array, shape: tuple[int, ...], pool: str) -> np.ndarray:
    """A layer's answer for clips of shape (B, T, h, w), as `Features.values`."""
    values = np.array(answer.astype(mx.float32))
    if values.size // values.shape[-1] != int(np.prod(shape)):
        return values.reshape(shape[0], -1)  # of the clip as a whole
    values = values.reshape(*shape, values.shape[-1])
    if pool == "none":
        return values
    means = values.mean(axis=tuple(range(2, len(shape))), dtype=np.float64)
    return (means if pool == "frame" else means.mean(axis=1)).astype(np.float32)


# Names -------------------------------------------------------------------------------------------------------------


def _checked(engine: Engine, part: str, block: str | None) -> str:
    if block is None:
        return LATENTS if part == AUTOENCODER else f"blocks.{engine.config.vdt.depth // 2}"
    known = blocks(engine, part)
    if block not in known:
        from difflib import get_close_matches

        close = get_close_matches(block, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise VDTError(f"The {part} has no block {block!r}{hint}: it has {spelled(list(known))}, and their parts.")
    return block


def spelled(names: Sequence[str]) -> str:
    """The main ones of some names, in a line; those that differ in one number once, with the range of the numbers."""
    ranges: dict[str, list[int]] = {}
    for name in names:
        words = [word for word in name.split(".") if not word.isdigit()]
        found = re.fullmatch(r"(\D+)(\d+)(.*)", name)
        if len(words) > 2:
            continue
        if found is None:
            ranges.setdefault(name, [])
        else:
            ranges.setdefault(f"{found[1]}N{found[3]}", []).append(int(found[2]))
    told = []
    for name, numbers in ranges.items():
        if len(numbers) > 1:
            told.append(f"{name} (N = {min(numbers)} to {max(numbers)})")
        else:
            told.append(name.replace("N", str(numbers[0]), 1) if numbers else name)
    return ", ".join(told)


def settings_of(asked: Asked) -> dict[str, Any]:
    """What was asked, as it is written down: what does not apply to the part is left out."""
    body = asdict(asked)
    if asked.part == AUTOENCODER:
        body = {name: value for name, value in body.items() if name in ("part", "block", "pool")}
    return body
