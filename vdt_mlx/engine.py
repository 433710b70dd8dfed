"""From arrays to arrays: encode what is given, sample the rest in latents, decode. `pipeline` adds files and tasks."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import mlx.core as mx
import numpy as np

from vdt_mlx.checkpoint import load_autoencoder, load_vdt
from vdt_mlx.config import TASKS, CheckpointConfig, read_config
from vdt_mlx.device.chunks import frames_at_once
from vdt_mlx.diffusion import masks, samplers
from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.diffusion.schedule import Given, Network, Schedule
from vdt_mlx.errors import VDTError
from vdt_mlx.network import conditioning
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.network.vdt import VDT

OnStep = Callable[[samplers.Step], None]
E = TypeVar("E", bound="Engine")


class ClipNoise(Sequence[mx.array]):
    """Standard normal noise (B, ...) for each step, each clip's from its own seed alone."""

    def __init__(self, seeds: Sequence[int], shape: Sequence[int]):
        self.keys = [mx.random.key(seed) for seed in seeds]
        self.shape = tuple(shape)

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step):
        return self.draw(step + 1)

    def draw(self, number: int) -> mx.array:
        """Draw 0 is where sampling starts; draw n is for step n."""
        keys = [key + mx.array([number, 0], mx.uint32) for key in self.keys]
        return mx.stack([mx.random.normal(self.shape, key=key) for key in keys])


def later_seeds(seeds: Sequence[int] | int, count: int, number: int) -> Sequence[int] | int:
    """The seeds of `count` clips, for pass `number` of several; those of pass 0 are the clips' own."""
    if number == 0:
        return seeds
    firsts = range(seeds, seeds + count) if isinstance(seeds, int) else seeds
    return [mixed_seed(seed, 0, number) for seed in firsts]


def mixed_seed(*numbers: int) -> int:
    """A seed that depends on all of these."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def flipped(frames: np.ndarray) -> np.ndarray:
    """Frames (B, T, H, W, 3) with left and right exchanged."""
    return np.ascontiguousarray(frames[:, :, :, ::-1])


def of_all(step: samplers.Step, part: int, parts: int) -> samplers.Step:
    """A step of one part of several, numbered among those of all parts."""
    return replace(step, index=part * step.total + step.index, total=parts * step.total)


class Engine:
    """A network and its autoencoder, working on batches of uint8 clips."""

    together = 16
    """Clips that the network is asked about in one call, at most, beside those of a batch."""

    def __init__(self, config: CheckpointConfig, vdt: VDT, autoencoder: Autoencoder):
        self.config = config
        self.vdt = vdt
        self.autoencoder = autoencoder
        self.network: Callable[..., mx.array] = vdt
        """The VDT, or a compiled form of it: `network(x, t, given)`, or with labels `network(x, t, given, y)`."""
        self.schedule = Schedule(config.diffusion)
        wanted, found = config.vdt.in_channels, autoencoder.config.latent_channels
        if wanted != found:
            raise VDTError(f"The network takes {wanted} latent channels and the autoencoder gives {found}.")
        for task in (None, *TASKS):
            for diverse in (False, True):
                self.resolve(None, task, diverse)  # a sampler of the configuration that does not exist is said now

    @classmethod
    def load(cls: type[E], folder: str | Path, dtype: str = "fp32", autoencoder: str | None = None) -> E:
        """Loads a checkpoint folder.

        Args:
            dtype: what the network computes in, `fp32`, `fp16` or `bf16`; the autoencoder and the integrator stay in
                fp32.
            autoencoder: `kl` or `tiny` for the one of that kind; the checkpoint's own by default.

        Raises:
            VDTError: a file is missing, damaged or does not fit.
        """
        return cls(read_config(folder), load_vdt(folder, dtype), load_autoencoder(folder, autoencoder))

    def compile(self) -> None:
        """Compiles the network with `mx.compile` (it retraces for every new shape)."""

        def network(x: mx.array, t: mx.array, given: Given, *y: mx.array) -> mx.array:
            return self.vdt(x, t, given, *y)

        self.network = mx.compile(network)

    @property
    def frames(self) -> int:
        """Frames of the clips it was trained on."""
        return self.config.vdt.num_frames

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels, of the clips it was trained on."""
        factor = self.autoencoder.config.downsample
        height, width = self.config.vdt.latent_size
        return height * factor, width * factor

    @property
    def cells(self) -> tuple[int, int, int]:
        """Frames, height and width, in latent cells, of the clips it was trained on."""
        return self.frames, *self.config.vdt.latent_size

    def resolve(self, sampling: Sampling | None = None, task: str | None = None, diverse: bool = False) -> Sampling:
        """With the checkpoint's own where nothing is chosen, for a task and a purpose if it tells these apart.

        Raises VDTError for what does not fit the network.
        """
        chosen = (sampling or Sampling()).resolved(self.config.diffusion.for_use(task, diverse))
        known = self.config.vdt.labels
        if chosen.label is not None and chosen.label not in known:
            there = f"there are {', '.join(known)}" if known else "it was trained without labels"
            raise VDTError(f"This checkpoint does not know the label {chosen.label!r}: {there}.")
        return chosen

    def network_calls(self, mask: np.ndarray, sampling: Sampling | None = None) -> int:
        """How often the network is called for each clip to generate a mask (B, T, h, w)."""
        chosen = self.resolve(sampling)
        return chosen.calls * len(masks.passes(mask, chosen.chunk))

    # Pixels ----------------------------------------------------------------------------------------------------------

    def fill(
        self,
        frames: np.ndarray,
        mask: np.ndarray,
        sampling: Sampling | None = None,
        *,
        seeds: Sequence[int] | int = 0,
        on_step: OnStep | None = None,
    ) -> np.ndarray:
        """Generates the masked cells of clips.

        Args:
            frames: (B, T, H, W, 3) uint8; what stands in the masked cells does not matter.
            mask: (T, h, w) or (B, T, h, w) on latent cells, 1 = generate.
            sampling: the sampler and its options; the checkpoint's own where nothing is chosen.
            seeds: one a clip, or a first one that counts upwards: each clip's noise depends on its own seed alone,
                not on the batch that it is in.
            on_step: called after every step (for progress and previews).

        Returns:
            (B, T, H, W, 3) uint8; frames that were given whole are returned as they were.

        Raises:
            VDTError: sizes that do not fit, an unsuitable sampler, a network that returns NaN.
        """
        batch, chosen = len(frames), self.resolve(sampling)
        mask = np.broadcast_to(mask, (batch, *mask.shape[-3:])).astype(np.float32)
        latents = self.encode_given(frames, mask)
        mirrored = self.encode_given(flipped(frames), mask[..., ::-1]) if chosen.mirror else None
        made = self.fill_latents(latents, mask, chosen, mirrored=mirrored, seeds=seeds, on_step=on_step)
        result = frames.copy()
        new = np.flatnonzero(mask.max(axis=(2, 3)) > 0)
        if len(new):  # what was given whole need not be decoded
            result.reshape(-1, *frames.shape[2:])[new] = self._decoded(made, new)
        return result

    def _decoded(self, latents: mx.array, wanted: np.ndarray) -> np.ndarray:
        """Frames (N, H, W, 3) of latents (B, T, h, w, C), by their numbers among all B * T.

        Others fill the last piece up, so that a frame's last bits do not depend on how many are wanted.
        """
        flat = latents.reshape(-1, *latents.shape[2:])
        factor = self.autoencoder.config.downsample
        piece = self._piece(flat.shape[1] * factor, flat.shape[2] * factor)
        others = np.setdiff1d(np.arange(len(flat)), wanted)[: -len(wanted) % piece]
        return self.decode(flat[mx.array(np.concatenate([wanted, others]))][None])[0, : len(wanted)]

    def encode_given(self, frames: np.ndarray, mask: np.ndarray) -> mx.array:
        """Normalised latents (B, T, h, w, C) of the frames that are given in whole or in part, zeros for the others.

        Frames to be generated whole are not even encoded: nothing of them can reach the network.
        """
        factor, channels = self.autoencoder.config.downsample, self.config.vdt.in_channels
        batch, count, height, width = frames.shape[:4]
        cells = (batch, count, height // factor, width // factor)
        if mask.shape != cells:
            raise VDTError(f"A mask of {mask.shape[1:]} does not fit clips of {cells[1:]} latent cells.")
        given = np.flatnonzero(mask.reshape(batch * count, -1).min(axis=1) == 0)
        latents = mx.zeros((batch * count, *cells[2:], channels))
        if len(given):
            part = self.encode(frames.reshape(-1, *frames.shape[2:])[given][None])[0]
            latents[mx.array(given)] = part.astype(mx.float32)
        return latents.reshape(*cells, channels)

    def _piece(self, height: int, width: int) -> int:
        """Frames of pixels (height, width) that are decoded at once."""
        return frames_at_once(self.autoencoder.config, height, width)

    def encode(self, frames: np.ndarray) -> mx.array:
        """(B, T, H, W, 3) uint8 -> normalised latents (B, T, h, w, C)."""
        return self.autoencoder.encode_clip(frames)

    def decode(self, latents: mx.array) -> np.ndarray:
        """Normalised latents (B, T, h, w, C) -> (B, T, H, W, 3) uint8."""
        return np.array(self.on_device(latents))

    def on_device(self, latents: mx.array) -> mx.array:
        """`decode`, as an array of MLX."""
        pixels = (self.autoencoder.decode_clip(latents) + 1) * 127.5
        return mx.round(mx.clip(pixels, 0, 255)).astype(mx.uint8)

    def reflect(self, latents: mx.array) -> mx.array:
        """Normalised latents (B, T, h, w, C) -> those of the frames with left and right exchanged."""
        return self.autoencoder.encode_clip(self.on_device(latents)[:, :, :, ::-1])

    # Latents ---------------------------------------------------------------------------------------------------------

    def fill_latents(
        self,
        clean: mx.array,
        mask: np.ndarray,
        sampling: Sampling | None = None,
        *,
        mirrored: mx.array | None = None,
        seeds: Sequence[int] | int = 0,
        on_step: OnStep | None = None,
    ) -> mx.array:
        """Runs `sample` to its end, a step at a time, in as many passes as the sampling's chunk asks for.

        Returns the latents (B, T, h, w, C) that it arrives at. Raises VDTError at the first step at which the network
        returns NaN or infinite values.
        """
        chosen = self.resolve(sampling)
        parts = masks.passes(mask, chosen.chunk)
        for number, part in enumerate(parts):
            final = None
            later = later_seeds(seeds, len(mask), number)
            for step in self.sample(clean, part, chosen, mirrored=mirrored, seeds=later):
                finite = mx.isfinite(step.x0).all(axis=(2, 3, 4))
                mx.eval(step.latents, step.x0, finite)
                _check_finite(finite, step)
                final = step
                if on_step is not None:
                    on_step(of_all(step, number, len(parts)))
            assert final is not None  # every sampler makes at least one step
            clean, mirrored = final.x0, None
        return clean

    def sample(
        self,
        clean: mx.array,
        mask: np.ndarray,
        sampling: Sampling | None = None,
        *,
        mirrored: mx.array | None = None,
        seeds: Sequence[int] | int = 0,
    ) -> Iterator[samplers.Step]:
        """Runs the sampler on latents (B, T, h, w, C) with a mask (B, T, h, w), grown to whole patches, in one pass.

        `mirrored` are the latents of the given frames with left and right exchanged, where their pixels are at hand.
        """
        batch = clean.shape[0]
        if isinstance(seeds, int):
            seeds = range(seeds, seeds + batch)
        if len(seeds) != batch:
            raise VDTError(f"{len(seeds)} seeds were given for {batch} clips.")
        noise, chosen = ClipNoise(seeds, clean.shape[1:]), self.resolve(sampling)
        conditioning.check_mask(self.config.vdt, np.asarray(mask))
        return samplers.sample(
            self._labelled(chosen),
            self.schedule,
            noise.draw(0),
            clean.astype(mx.float32),
            mx.array(masks.align_mask(np.asarray(mask), self.config.vdt.patch_size)),
            chosen,
            step_noise=noise,
            reflect=self.reflect,
            mirrored=mirrored,
            together=self.together,
        )

    def clips_at_once(self, batch: int, sampling: Sampling) -> int:
        """How many clips a call of the network is about, for a batch of so many; `sampling` is resolved."""
        questions = 2 ** sum(map(bool, (sampling.antithetic, sampling.mirror)))
        grouped = batch * max(1, min(questions, self.together // batch))
        return grouped * (2 if sampling.guided else 1)

    def _labelled(self, sampling: Sampling) -> Network:
        """The network as the samplers call it: told the label, or that there is none, and led to it by guidance."""
        config = self.config.vdt
        if not config.labels:
            return self.network
        label = config.num_classes if sampling.label is None else config.labels.index(sampling.label)
        strength = 1.0 if sampling.guidance is None else sampling.guidance

        def told(x: mx.array, t: mx.array, given: Given | None) -> mx.array:
            return self.network(x, t, given, mx.full(x.shape[0], label, mx.int32))

        def guided(x: mx.array, t: mx.array, given: Given | None) -> mx.array:
            batch, both = x.shape[0], lambda a: mx.concatenate([a, a])
            y = mx.array([label] * batch + [config.num_classes] * batch, mx.int32)
            answer = self.network(both(x), both(t), None if given is None else tuple(map(both, given)), y)
            found, free = mx.split(answer.astype(mx.float32), 2)
            channels = config.in_channels
            led = free[..., :channels] + strength * (found[..., :channels] - free[..., :channels])
            return mx.concatenate([led, found[..., channels:]], axis=-1)  # a learned variance is the label's own

        return guided if sampling.guided else told


def _check_finite(finite: mx.array, step: samplers.Step) -> None:
    """Raises VDTError, with where and when, unless every frame (B, T) of a step's prediction is finite."""
    if finite.all().item():
        return
    clip, frame = divmod(int(np.argmin(np.array(finite))), finite.shape[1])
    raise VDTError(
        f"The network returned NaN or infinite values at step {step.index} of {step.total} (timestep "
        f"{step.timestep:g}), first in frame {frame + 1} of clip {clip + 1}: its weights or its dtype are at fault."
    )
