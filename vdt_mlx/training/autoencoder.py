"""Training an image autoencoder on frames: L2 + L1, and latents that stay near unit scale and bear a little noise."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from vdt_mlx.checkpoint import cast, flat_parameters, save_checkpoint
from vdt_mlx.config import AutoencoderConfig, CheckpointConfig
from vdt_mlx.device.cpu_streams import lanes, over_batch
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder, AutoencoderKL, TinyBlock, build_autoencoder, relu
from vdt_mlx.pair_score import decibels, psnr
from vdt_mlx.training import optimizer as optimizers
from vdt_mlx.training.config import AutoencoderLossConfig, TrainConfig
from vdt_mlx.training.data import Pool, Source, build_source
from vdt_mlx.training.draw import step_rng
from vdt_mlx.training.optimizer import Flat, FlatOptimizer, scalar
from vdt_mlx.training.prefetch import Ahead

RECONSTRUCTION = "reconstruction_psnr"
"""Of the training section of a checkpoint: PSNR in dB of held-out clips that went through its autoencoder."""
RECONSTRUCTED = 4
"""Of those clips."""
HELD_OUT_CLIPS = 16
PIECE = 16
DEAD = 1.5
"""Deviations below zero at which the mean input of a hidden unit counts as dying: it is active 7 % of the time."""


class AutoencoderTask:
    """The autoencoder as something that `loop.run` can train."""

    kind = "autoencoder"

    def __init__(self, config: TrainConfig, initial: Autoencoder | None = None):
        self.config = config
        self.loop = config.autoencoder_loop
        self.settings = config.autoencoder_optimizer
        self.source: Source = build_source(config.data)
        self.pool = Pool(self.source, min(config.data.frames_pool, config.data.pool))
        self.held_out = held_out_clips(config, HELD_OUT_CLIPS)
        mx.random.seed(self.loop.seed)
        self.model = build_autoencoder(config.autoencoder)
        if initial is not None:
            self.model.load_weights(list(flat_parameters(initial).items()))
            self.model.config = initial.config
        else:
            start_as_identity(self.model)
        for name in ("decoder_only", "dead_units"):
            if getattr(config.loss, name) and config.autoencoder.kind != "tiny":
                raise VDTError(f"loss.{name} is for autoencoders of the kind tiny.")
        if config.loss.decoder_only:
            self.model.encoder.freeze()
        self.watched = watch(self.model) if config.loss.dead_units else []
        trained = dict(tree_flatten(self.model.trainable_parameters()))
        self.fixed: Flat = {name: v for name, v in flat_parameters(self.model).items() if name not in trained}
        self.optimizer = FlatOptimizer(self.settings)
        self.packing = self.optimizer.packing(trained, optimizers.kernels(trained))
        self.parameters = self.packing.pack(trained)
        self.state: Flat = self.optimizer.init(self.parameters)
        self.ema: Flat = dict(self.parameters)
        self._step = mx.compile(self._pure_step)
        self._ahead = Ahead(self._material, in_thread=True)

    # What is trained ---------------------------------------------------------------------------------------------

    def _pure_step(
        self,
        parameters: Flat,
        state: Flat,
        ema: Flat,
        images: mx.array,
        noise: mx.array,
        scale: mx.array,
        decay: mx.array,
    ) -> tuple[Flat, Flat, Flat, mx.array, mx.array, mx.array]:
        def loss(parameters: Flat) -> tuple[mx.array, mx.array]:
            self.model.update(optimizers.unflatten(parameters))
            value, error = autoencoder_loss(self.model, images, noise, self.config.loss)
            if self.watched:
                value = value + self.config.loss.dead_units * dead_unit_penalty(self.watched)
            return value, error

        (value, error), separate = mx.value_and_grad(loss)(self.packing.unpack(parameters))
        gradients = self.packing.pack(separate)
        gradients, norm = optimizers.clip_by_norm(gradients, self.settings.clip)
        parameters, state = self.optimizer.update(gradients, parameters, state, scale)
        return parameters, state, optimizers.average(ema, parameters, decay), value, error, norm

    def fill(self, step: int, progress: Callable[[int], None]) -> None:
        """Makes the clips ready that the step needs."""
        needed = min(self.config.data.prefill + step * self.config.data.fresh, self.pool.capacity)
        while self.pool.filled < min(needed, self.pool.capacity):
            self.pool.fill(min(self.pool.filled + PIECE, needed))
            progress(self.pool.filled)

    def train_step(self, step: int) -> dict[str, float]:
        """One step; returns its loss, PSNR in dB and gradient norm."""
        images, noise = self._ahead.take(step)
        before = self.parameters, self.state, self.ema
        try:
            with lanes(self.loop.lanes or None):
                self.parameters, self.state, self.ema, loss, error, norm = self._step(
                    *before,
                    mx.array(images),
                    mx.array(noise),
                    mx.array(optimizers.rate_scale(self.settings, step, self.loop.steps)),
                    mx.array(optimizers.ema_decay(self.settings.ema, step)),
                )
                mx.async_eval(self.parameters, self.state, self.ema, loss)
                if step + 1 < self.loop.steps:
                    self._ahead.prepare(step + 1)
                mx.eval(self.parameters, self.state, self.ema, loss)
        except BaseException:  # what is saved then is whole
            self.parameters, self.state, self.ema = before
            raise
        return {"loss": scalar(loss), "psnr": decibels(scalar(error), 1.0), "grad_norm": scalar(norm)}

    def _material(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """What the step works on: images (N, H, W, 3) in [-1, 1], and noise for their latents (N, h, w, C)."""
        self.pool.fill(self.config.data.prefill + step * self.config.data.fresh)
        rng = step_rng(self.loop.seed, step)
        images = draw_frames(self.pool.array[: self.pool.filled], self.loop.batch, rng)
        height, width = images.shape[1] // self.model.config.downsample, images.shape[2] // self.model.config.downsample
        noise = rng.standard_normal((len(images), height, width, self.model.config.latent_channels), dtype=np.float32)
        return images, noise

    # What is saved -----------------------------------------------------------------------------------------------

    def groups(self) -> dict[str, Flat]:
        """Everything that a resumed run needs, besides the number of the step."""
        values = {name: getattr(self.model.config, name) for name in ("latent_mean", "latent_std", "scaling_factor")}
        statistics = {name: mx.array(value) for name, value in values.items() if value is not None}
        groups = {
            "parameters": self.packing.unpack(self.parameters),
            "optimizer": self.state,
            "ema": self.packing.unpack(self.ema),
        }
        return {**groups, "fixed": self.fixed, "statistics": statistics} if self.fixed else groups

    def restore(self, groups: dict[str, Flat]) -> None:
        self.parameters = self.packing.pack(groups["parameters"])
        self.state = optimizers.in_order(groups["optimizer"], self.state)
        self.ema = self.packing.pack(groups["ema"])
        if self.fixed:
            self.fixed = groups["fixed"]
            self.model.load_weights(list(self.fixed.items()), strict=False)
            statistics: dict[str, Any] = {name: value.tolist() for name, value in groups["statistics"].items()}
            self.model.config = replace(self.model.config, **statistics)

    def averaged(self) -> Autoencoder:
        """The model with the averaged weights; its latent statistics are those of held-out clips."""
        model = build_autoencoder(self.config.autoencoder)
        model.load_weights(
            list({**self.fixed, **self.packing.unpack(self.ema if self.settings.ema else self.parameters)}.items())
        )
        model.config = self.model.config if self.fixed else with_statistics(model, self.held_out)
        return model

    def save(self, folder: Path, facts: dict, dtype: str = "fp32") -> None:
        """Writes a checkpoint folder that holds the autoencoder alone."""
        model = self.averaged()
        known = {**facts, RECONSTRUCTION: round(reconstruction_psnr(model, self.held_out[:RECONSTRUCTED]), 2)}
        config = CheckpointConfig(
            vdt=self.config.vdt, diffusion=self.config.diffusion, autoencoder=model.config, training=known
        )
        save_checkpoint(folder, config, autoencoder=cast(flat_parameters(model), dtype), replace=True)

    def preview(self, folder: Path, step: int) -> dict[str, float]:
        """A sheet of held-out frames above their reconstructions; returns their PSNR in dB."""
        from vdt_mlx.media.pictures import save_sheet

        model = self.averaged()
        truth = self.held_out[:8, ::2]
        decoded = to_uint8(model.decode_clip(model.encode_clip(truth)))
        path, pairs = folder / f"step-{step:08d}.png", list(zip(truth, decoded, strict=True))
        save_sheet(path, pairs, labels=("truth", "decoded"), numbers=range(1, 2 * len(truth[0]) + 1, 2))
        return {"held_out_psnr": reconstruction_psnr(model, self.held_out)}

    def agree(self, stop: bool) -> bool:
        """An autoencoder is trained by one process."""
        return stop

    def close(self) -> None:
        self._ahead.close()
        self.pool.close()


def start_as_identity(model: Autoencoder) -> None:
    """Residual blocks begin by adding nothing: without norms, a deep stack of random ones explodes."""
    for _, module in model.named_modules():
        if isinstance(module, TinyBlock):
            module.conv[-1].weight = mx.zeros_like(module.conv[-1].weight)
            module.conv[-1].bias = mx.zeros_like(module.conv[-1].bias)


class WatchedReLU(nn.Module):
    """A ReLU that keeps what it was given since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[mx.array] = []

    def __call__(self, x: mx.array) -> mx.array:
        self._seen.append(x)
        return relu(x)

    def take(self) -> list[mx.array]:
        """The inputs (N, H, W, C) of the calls since the last time, one a lane."""
        seen, self._seen = self._seen, []
        return seen


def watch(model: Autoencoder) -> list[WatchedReLU]:
    """Puts watched activations into the residual blocks of a tiny autoencoder."""
    watched = []
    for _, module in model.named_modules():
        if isinstance(module, TinyBlock):
            for place in (1, 3):
                layer = WatchedReLU()
                module.conv[place] = layer
                watched.append(layer)
    return watched


def dead_unit_penalty(watched: list[WatchedReLU]) -> mx.array:
    """Mean over hidden units of how far their mean input lies below `DEAD` deviations under zero."""
    total, count = mx.array(0.0), 0
    for layer in watched:
        for inputs in layer.take():
            mean, variance = inputs.mean(axis=(0, 1, 2)), inputs.var(axis=(0, 1, 2))
            total = total + mx.maximum(-DEAD - mean / mx.stop_gradient(mx.sqrt(variance) + 1e-3), 0).mean()
            count += 1
    return total / max(count, 1)


def autoencoder_loss(
    model: Autoencoder, images: mx.array, noise: mx.array, weights: AutoencoderLossConfig
) -> tuple[mx.array, mx.array]:
    """The loss, and the mean square error of the reconstruction on the scale of [0, 1]."""
    if isinstance(model, AutoencoderKL):
        mean, logvar = model.moments(images)
        latents = mean + mx.exp(0.5 * logvar) * noise
        bound = 0.5 * (mean.square() + mx.exp(logvar) - 1 - logvar).mean() * weights.kl
    else:
        mean = over_batch(model.encode, images)
        spread = mx.stop_gradient(mx.sqrt(mean.var(axis=(0, 1, 2))))
        latents = mean + weights.latent_noise * spread * noise
        bound = mean.square().mean() * weights.latent_penalty
    error = over_batch(model.decode, latents) - images
    square = error.square().mean()
    return square + weights.l1 * mx.abs(error).mean() + bound, square / 4


def draw_frames(clips: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random frames (count, H, W, 3) in [-1, 1] of clips (N, T, H, W, 3); flips, and now and then other colours.

    Four in five frames keep their colours; the others have channels permuted and perhaps inverted, so that the
    autoencoder learns edges in any colour and not only those of the scenes.
    """
    numbers = rng.integers(0, len(clips), count)
    times = rng.integers(0, clips.shape[1], count)
    frames = clips[numbers, times]
    for i in range(count):
        if rng.random() < 0.5:
            frames[i] = frames[i][:, ::-1]
        if rng.random() < 0.25:
            frames[i] = frames[i][::-1]
        if rng.random() < 0.2:
            frames[i] = frames[i][..., rng.permutation(frames.shape[-1])]
            if rng.random() < 0.3:
                frames[i] = 255 - frames[i]
    return frames.astype(np.float32) / np.float32(127.5) - 1


def held_out_clips(config: TrainConfig, count: int) -> np.ndarray:
    """Clips (count, T, H, W, 3) that training never sees: the simulator's `val` split, or the end of a folder."""
    found = list(itertools.islice(build_source(config.data, "val", workers=0).clips(0), count))
    if not found:
        raise VDTError("The data holds no clip to preview.")
    return np.stack(found)


def reconstruction_of(config: TrainConfig, model: Autoencoder) -> dict[str, float]:
    """What a checkpoint says of its autoencoder on held-out clips of its training data; nothing if they are gone."""
    try:
        return {RECONSTRUCTION: round(reconstruction_psnr(model, held_out_clips(config, RECONSTRUCTED)), 2)}
    except (VDTError, OSError):
        return {}


def with_statistics(model: Autoencoder, clips: np.ndarray) -> AutoencoderConfig:
    """The model's configuration with the per-channel mean and deviation of its raw latents on these clips."""
    plain = replace(model.config, latent_mean=None, latent_std=None, scaling_factor=1.0)
    kept, model.config = model.config, plain
    latents = np.array(model.encode_clip(clips)).reshape(-1, plain.latent_channels)
    model.config = kept
    mean, std = latents.mean(axis=0), np.maximum(latents.std(axis=0), 1e-6)
    return replace(plain, latent_mean=tuple(map(float, mean)), latent_std=tuple(map(float, std)))


def reconstruction_psnr(model: Autoencoder, clips: np.ndarray, progress: Callable[[int], None] | None = None) -> float:
    """PSNR in dB of the 8-bit reconstruction of uint8 clips, over all their pixels."""
    decoded = to_uint8(model.decode_clip(model.encode_clip(clips, progress=progress)))
    return psnr(decoded, clips)


def to_uint8(clip: mx.array) -> np.ndarray:
    """[-1, 1] floats -> uint8."""
    return np.array(mx.clip(mx.round((clip + 1) * 127.5), 0, 255).astype(mx.uint8))
