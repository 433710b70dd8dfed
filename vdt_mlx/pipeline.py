"""From frames and a mask to imagined frames: load, encode, sample, decode."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from vdt_mlx.checkpoint import load_autoencoder, load_vdt
from vdt_mlx.config import CheckpointConfig, read_config
from vdt_mlx.diffusion import masks, samplers
from vdt_mlx.diffusion.schedule import Given, Network, Schedule
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.network.vdt import VDT


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


def turned(frames: np.ndarray) -> np.ndarray:
    """Frames (B, T, H, W, 3) with left and right exchanged."""
    return np.ascontiguousarray(frames[:, :, :, ::-1])


def of_all(step: samplers.Step, part: int, parts: int) -> samplers.Step:
    """A step of one part of several, numbered among those of all parts."""
    return replace(step, index=part * step.total + step.index, total=parts * step.total)


class Pipeline:
    """A network and its autoencoder, working on uint8 clips."""

    def __init__(self, config: CheckpointConfig, vdt: VDT, autoencoder: Autoencoder):
        self.config = config
        self.vdt = vdt
        self.autoencoder = autoencoder
        self.network: Network = vdt
        """What the samplers call: the VDT, or a compiled form of it."""
        self.schedule = Schedule(config.diffusion)
        wanted, found = config.vdt.in_channels, autoencoder.config.latent_channels
        if wanted != found:
            raise VDTError(f"The network takes {wanted} latent channels and the autoencoder gives {found}.")

    @classmethod
    def load(cls, folder: str | Path, dtype: str = "fp32", autoencoder: str | None = None) -> "Pipeline":
        """Loads a checkpoint folder (`weights.registry.resolve` turns a name into one).

        Args:
            dtype: what the network computes in; the autoencoder and the integrator stay in fp32.
            autoencoder: `kl` or `tiny` for the one of that kind; the checkpoint's own by default.

        Raises:
            VDTError: a file is missing, damaged or does not fit.
        """
        config = read_config(folder)
        return cls(config, load_vdt(folder, dtype), load_autoencoder(folder, autoencoder))

    def compile(self) -> None:
        """Compiles the network with `mx.compile` (it retraces for every new shape)."""

        def network(x: mx.array, t: mx.array, given: Given | None) -> mx.array:
            return self.vdt(x, t, given)

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

    def generate(
        self,
        frames: np.ndarray,
        mask: np.ndarray,
        *,
        steps: int | None = None,
        sampler: str | None = None,
        eta: float | None = None,
        antithetic: bool | None = None,
        mirror: bool | None = None,
        spacing: str | None = None,
        chunk: int | None = None,
        seeds: Sequence[int] | int = 0,
        on_step: Callable[[samplers.Step], None] | None = None,
    ) -> np.ndarray:
        """Imagines the masked cells of clips.

        Args:
            frames: (B, T, H, W, 3) uint8; what stands in the masked cells does not matter.
            mask: (T, h, w) or (B, T, h, w) on latent cells, 1 = generate.
            steps, sampler, eta, antithetic, mirror, spacing: the checkpoint's and the sampler's own unless given; see
                `samplers.sample`.
            chunk: frames that a prediction settles at a time; the checkpoint's own unless given, see `masks.passes`.
            seeds: one a clip, or a first one that counts upwards: each clip's noise depends on its own seed alone,
                not on the batch that it is in.
            on_step: called after every step (for progress and previews).

        Returns:
            (B, T, H, W, 3) uint8; frames that were given whole are returned as they were.

        Raises:
            VDTError: sizes that do not fit, an unsuitable sampler, a network that returns NaN.
        """
        batch = len(frames)
        mask = np.broadcast_to(mask, (batch, *mask.shape[-3:])).astype(np.float32)
        latents = self.encode_given(frames, mask)
        mirror = self.choose_sampler(sampler, mirror=mirror).mirror
        final = self.imagine(
            latents,
            mask,
            mirrored=self.encode_given(turned(frames), mask[..., ::-1]) if mirror else None,
            chunk=chunk,
            steps=steps,
            sampler=sampler,
            eta=eta,
            antithetic=antithetic,
            mirror=mirror,
            spacing=spacing,
            seeds=seeds,
            on_step=on_step,
        )
        result = self.decode(final)
        whole = mask.max(axis=(2, 3)) == 0
        result[whole] = frames[whole]
        return result

    def imagine(
        self,
        clean: mx.array,
        mask: np.ndarray,
        *,
        mirrored: mx.array | None = None,
        chunk: int | None = None,
        seeds: Sequence[int] | int = 0,
        on_step: Callable[[samplers.Step], None] | None = None,
        **options: Any,
    ) -> mx.array:
        """Runs `sample` to its end, a step at a time, in as many passes as `chunk` asks for.

        Returns the latents (B, T, h, w, C) that it arrives at. Raises VDTError if the network returns NaN.
        """
        parts = self.passes(mask, chunk)
        for number, part in enumerate(parts):
            final = None
            later = later_seeds(seeds, len(mask), number)
            for step in self.sample(clean, part, mirrored=mirrored, seeds=later, **options):
                mx.eval(step.latents, step.x0)
                final = step
                if on_step is not None:
                    on_step(of_all(step, number, len(parts)))
            assert final is not None  # every sampler makes at least one step
            if not mx.isfinite(final.x0).all().item():
                raise VDTError("The network returned NaN or infinite values; its weights or its dtype are at fault.")
            clean, mirrored = final.x0, None
        return clean

    def passes(self, mask: np.ndarray, chunk: int | None = None) -> list[np.ndarray]:
        """The masks of the passes that imagine this one (B, T, h, w); the checkpoint's chunk unless one is given."""
        return masks.passes(mask, self.config.diffusion.chunk if chunk is None else chunk)

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

    def encode(self, frames: np.ndarray) -> mx.array:
        """(B, T, H, W, 3) uint8 -> normalised latents (B, T, h, w, C)."""
        return self.autoencoder.encode_clip(frames)

    def decode(self, latents: mx.array) -> np.ndarray:
        """Normalised latents (B, T, h, w, C) -> (B, T, H, W, 3) uint8."""
        pixels = (self.autoencoder.decode_clip(latents) + 1) * 127.5
        return np.array(mx.round(mx.clip(pixels, 0, 255)).astype(mx.uint8))

    def reflect(self, latents: mx.array) -> mx.array:
        """Normalised latents (B, T, h, w, C) -> those of the frames with left and right exchanged."""
        return self.encode(turned(self.decode(latents)))

    def choose_sampler(
        self,
        sampler: str | None = None,
        steps: int | None = None,
        eta: float | None = None,
        antithetic: bool | None = None,
        mirror: bool | None = None,
    ) -> samplers.Choice:
        """What is named, and the checkpoint's own for the rest; its eta, pairs and mirror go with its sampler only."""
        own = self.config.diffusion
        sampler = sampler or own.sampler
        if eta is None:
            eta = own.eta if sampler == own.sampler else 0.0
        if antithetic is None:
            antithetic = own.antithetic and sampler == own.sampler
        if mirror is None:
            mirror = own.mirror and sampler == own.sampler
        return samplers.Choice(sampler, steps or own.steps, eta, antithetic, mirror)

    def network_calls(self, mask: np.ndarray, sampler: str | None = None, steps: int | None = None) -> int:
        """How often the network is called to imagine a mask (B, T, h, w)."""
        return self.choose_sampler(sampler, steps).calls * len(self.passes(mask))

    def sample(
        self,
        clean: mx.array,
        mask: np.ndarray,
        *,
        mirrored: mx.array | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        eta: float | None = None,
        antithetic: bool | None = None,
        mirror: bool | None = None,
        spacing: str | None = None,
        seeds: Sequence[int] | int = 0,
    ) -> Iterator[samplers.Step]:
        """Runs the sampler on latents (B, T, h, w, C) with a mask (B, T, h, w), grown to whole patches.

        `mirrored` are the latents of the given frames with left and right exchanged, where their pixels are at hand.
        """
        batch = clean.shape[0]
        if isinstance(seeds, int):
            seeds = range(seeds, seeds + batch)
        if len(seeds) != batch:
            raise VDTError(f"{len(seeds)} seeds were given for {batch} clips.")
        noise = ClipNoise(seeds, clean.shape[1:])
        choice = self.choose_sampler(sampler, steps, eta, antithetic, mirror)
        return samplers.sample(
            self.network,
            self.schedule,
            noise.draw(0),
            clean.astype(mx.float32),
            mx.array(masks.align_mask(np.asarray(mask), self.config.vdt.patch_size)),
            **asdict(choice),
            spacing=spacing,
            step_noise=noise,
            reflect=self.reflect,
            mirrored=mirrored,
        )
