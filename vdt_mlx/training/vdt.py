"""Training a VDT on latents: one step as a pure function, compiled; the loop around it is `training.loop`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from vdt_mlx.checkpoint import cast, flat_parameters, save_checkpoint
from vdt_mlx.config import CheckpointConfig
from vdt_mlx.device.cpu_streams import lanes
from vdt_mlx.device.kernels import on_cpu
from vdt_mlx.diffusion.loss import coefficients, masked_losses
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.network.vdt import VDT
from vdt_mlx.pipeline import Pipeline
from vdt_mlx.training import draw as objective
from vdt_mlx.training import optimizer
from vdt_mlx.training.config import TrainConfig
from vdt_mlx.training.data import build_source
from vdt_mlx.training.draw import Draw, step_rng
from vdt_mlx.training.latents import LatentStore
from vdt_mlx.training.optimizer import Flat, FlatOptimizer, scalar
from vdt_mlx.training.prefetch import Ahead

PIECE = 16
"""Clips made ready between two signs of life."""

_EPOCH_STREAM, _CHOICE_STREAM = 2, 1


class VDTTask:
    """The VDT as something that `loop.run` can train."""

    kind = "vdt"

    def __init__(
        self,
        config: TrainConfig,
        autoencoder: Autoencoder,
        cache: Path,
        weights: Flat | None = None,
        world: mx.distributed.Group | None = None,
    ):
        self.config = config
        self.loop = config.loop
        self.settings = config.optimizer
        self.autoencoder = autoencoder
        self.rank, self.ranks = (world.rank(), world.size()) if world is not None else (0, 1)
        self.world = world
        shape = (config.vdt.num_frames, *config.vdt.latent_size, config.vdt.in_channels)
        folder = Path(config.data.cache) if config.data.cache else cache
        source = build_source(config.data)
        self.store = LatentStore(folder, source, autoencoder, shape, config.data.pool, world)
        self.endless = source.count is None
        mx.random.seed(self.loop.seed)
        self.model = VDT(config.vdt)
        if weights is not None:
            self.model.load_weights(list(weights.items()))
        self.schedule = Schedule(config.diffusion)
        self.fixed: Flat = {
            name: value
            for name, value in flat_parameters(self.model).items()
            if name not in dict(tree_flatten(self.model.trainable_parameters()))
        }
        trained: Flat = dict(tree_flatten(self.model.trainable_parameters()))
        self.optimizer = FlatOptimizer(self.settings)
        self.packing = self.optimizer.packing(trained)
        self.parameters = self.packing.pack(trained)
        self.state: Flat = self.optimizer.init(self.parameters)
        self.ema: Flat = dict(self.parameters)
        if self.loop.checkpointing:
            checkpoint_blocks(self.model)
        self._gradients: Any = mx.compile(self._loss_gradients)
        self._update = mx.compile(self._pure_update)
        self._draws = Ahead(self._draw, in_thread=True)
        self._batches = Ahead(self.batch, in_thread=False)

    # One step ----------------------------------------------------------------------------------------------------

    def _gradients_of(self, loss: Callable[[Any], mx.array], packed: Flat) -> tuple[mx.array, Flat]:
        """The loss of a network with these weights, in the run's precision, and its gradients, packed, in fp32."""
        dtype = mx.bfloat16 if self.loop.precision == "bf16" else mx.float32

        def of_weights(parameters: Flat) -> mx.array:
            self.model.update(optimizer.unflatten(parameters))
            return loss(self._in_precision(self.model))

        weights = self.packing.unpack({group: value.astype(dtype) for group, value in packed.items()})
        value, gradients = mx.value_and_grad(of_weights)(weights)
        packed = self.packing.pack(gradients)
        return value, {group: gradient.astype(mx.float32) for group, gradient in packed.items()}

    def _loss_gradients(
        self, packed: Flat, x0: mx.array, mask: mx.array, t: mx.array, noise: mx.array, weights: mx.array
    ) -> tuple[mx.array, Flat]:
        def loss(network: Any) -> mx.array:
            normalise = self.config.objective.normalise
            losses = masked_losses(self.schedule, network, x0, mask, t, noise, weights, normalise=normalise)
            return losses.total.mean()

        return self._gradients_of(loss, packed)

    def _in_precision(self, network: VDT) -> Any:
        if self.loop.precision == "fp32":
            return network
        return lambda x, t, given: network(x.astype(mx.bfloat16), t, given).astype(mx.float32)

    def _pure_update(
        self, gradients: Flat, parameters: Flat, state: Flat, ema: Flat, scale: mx.array, decay: mx.array
    ) -> tuple[Flat, Flat, Flat, mx.array]:
        gradients, norm = optimizer.clip_by_norm(gradients, self.settings.clip)
        parameters, state = self.optimizer.update(gradients, parameters, state, scale)
        return parameters, state, optimizer.average(ema, parameters, decay), norm

    def train_step(self, step: int) -> dict[str, float]:
        """One step; returns its loss and gradient norm, averaged over all ranks."""
        x0, drawn = self._batches.take(step), self._draws.take(step)
        with lanes(self.loop.lanes or None):
            loss, gradients = self._accumulated(x0, drawn)
            if on_cpu():
                mx.eval(loss, gradients)
        if self.ranks > 1:
            names = sorted(gradients)  # as a list: MLX would take the dots in the names for levels of a tree
            averaged = nn.average_gradients([gradients[name] for name in names], self.world)
            gradients = dict(zip(names, averaged, strict=True))
            loss = mx.distributed.all_sum(loss, group=self.world) / self.ranks
        self.parameters, self.state, self.ema, norm = self._update(
            gradients,
            self.parameters,
            self.state,
            self.ema,
            mx.array(optimizer.rate_scale(self.settings, step, self.loop.steps)),
            mx.array(optimizer.ema_decay(self.settings.ema, step)),
        )
        mx.async_eval(self.parameters, self.state, self.ema, loss)
        if step + 1 < self.loop.steps:
            self._draws.prepare(step + 1)
            self._batches.prepare(step + 1)
        mx.eval(self.parameters, self.state, self.ema, loss)
        return {"loss": scalar(loss), "grad_norm": scalar(norm)}

    def _draw(self, step: int) -> Draw:
        rng = step_rng(self.loop.seed, step)
        return objective.draw(self.config.objective, self.config.vdt, self.schedule, self.loop.batch, rng)

    def _accumulated(self, x0: np.ndarray, drawn: Draw) -> tuple[mx.array, Flat]:
        """Loss and gradients of this rank's share of the batch, in `accumulate` parts."""
        share = np.arange(self.rank, self.loop.batch, self.ranks)
        total: tuple[mx.array, Flat] | None = None
        for part in np.array_split(share, self.loop.accumulate):
            latents = mx.array(x0[part]).astype(mx.float32)
            piece = Draw(drawn.mask[part], drawn.t[part], drawn.noise[part])
            arrays = (mx.array(a) for a in (piece.mask, piece.t.astype(np.float32), piece.noise))
            result = self._gradients(self.parameters, latents, *arrays, mx.array(coefficients(self.schedule, piece.t)))
            weight = len(part) / len(share)
            if self.loop.accumulate == 1:
                return result
            loss, gradients = result[0] * weight, {name: g * weight for name, g in result[1].items()}
            if total is not None:
                loss = loss + total[0]
                gradients = {name: g + total[1][name] for name, g in gradients.items()}
            mx.eval(loss, gradients)  # so that only one part's activations are alive
            total = loss, gradients
        assert total is not None
        return total

    def fill(self, step: int, progress: Callable[[int], None]) -> None:
        """Makes the clips ready that the step needs: all of a folder's, so many of the simulator's."""
        data = self.config.data
        first = data.prefill + (step + 1) * data.fresh if self.endless else self.store.capacity
        while self.store.filled < min(first, self.store.capacity):
            with lanes(self.loop.lanes or None):
                self.store.fill(min(self.store.filled + PIECE, first))
            progress(self.store.filled)

    def batch(self, step: int) -> np.ndarray:
        """The step's latents (B, T, h, w, C) fp16: the same whatever was trained before, and on every rank."""
        size = self.loop.batch
        if not self.endless:
            self.store.fill(self.store.capacity)
            return self.store.array[epoch_indices(self.loop.seed, self.store.capacity, step * size, size)]
        data = self.config.data
        before = min(data.prefill + step * data.fresh, self.store.capacity)
        after = min(before + data.fresh, self.store.capacity)
        with lanes(self.loop.lanes or None):
            self.store.fill(after)
        rng = step_rng(self.loop.seed, step, _CHOICE_STREAM)
        new = np.arange(before, after)[:size]
        return self.store.array[np.concatenate([new, rng.integers(0, after, size - len(new))])]

    # What is saved -----------------------------------------------------------------------------------------------

    def groups(self) -> dict[str, Flat]:
        """Everything that a resumed run needs, besides the number of the step."""
        unpack = self.packing.unpack
        return {"parameters": unpack(self.parameters), "optimizer": self.state, "ema": unpack(self.ema)}

    def restore(self, groups: dict[str, Flat]) -> None:
        self.parameters = self.packing.pack(groups["parameters"])
        self.state = optimizer.in_order(groups["optimizer"], self.state)
        self.ema = self.packing.pack(groups["ema"])

    def averaged(self) -> VDT:
        """The network with the averaged weights, for use."""
        model = VDT(self.config.vdt)
        weights = {**self.fixed, **self.packing.unpack(self.ema if self.settings.ema else self.parameters)}
        model.load_weights(list(weights.items()))
        return model

    def checkpoint_config(self, facts: dict) -> CheckpointConfig:
        return CheckpointConfig(
            vdt=self.config.vdt,
            diffusion=self.config.diffusion,
            autoencoder=self.autoencoder.config,
            training=facts,
        )

    def save(self, folder: Path, facts: dict, dtype: str = "fp32") -> None:
        """Writes a checkpoint folder: the averaged network, and the autoencoder that it was trained with."""
        save_checkpoint(
            folder,
            self.checkpoint_config(facts),
            vdt=cast(flat_parameters(self.averaged()), dtype),
            autoencoder=cast(flat_parameters(self.autoencoder), dtype),
            replace=True,
        )

    def preview(self, folder: Path, step: int) -> dict[str, float]:
        """A sheet of predictions for held-out clips beside the truth; returns their scores."""
        from vdt_mlx.training.autoencoder import held_out_clips
        from vdt_mlx.training.preview import save_sheet
        from vdt_mlx.training.validate import predict_clips, score_clips, sheet_rows

        clips = held_out_clips(self.config, self.loop.preview_clips)
        predicted = predict_clips(Pipeline(self.checkpoint_config({}), self.averaged(), self.autoencoder), clips)
        save_sheet(folder / f"step-{step:08d}.png", sheet_rows(clips[:8], predicted[:8]))
        return score_clips(clips, predicted)

    def agree(self, stop: bool) -> bool:
        """Whether any rank wants to stop; all get the same answer."""
        if self.ranks == 1:
            return stop
        return scalar(mx.distributed.all_sum(mx.array(float(stop)), group=self.world)) > 0

    def close(self) -> None:
        self._draws.close()
        self.store.close()


def checkpoint_blocks(model: VDT) -> None:
    """Recompute each block's activations in the backward pass instead of keeping them."""
    kind = type(model.blocks[0])

    class Checkpointed(kind):  # type: ignore[misc, valid-type]
        def __call__(self, x: mx.array, condition: mx.array) -> mx.array:
            def forward(parameters: Any, x: mx.array, condition: mx.array) -> mx.array:
                self.update(parameters)
                return super(Checkpointed, self).__call__(x, condition)

            return mx.checkpoint(forward)(self.trainable_parameters(), x, condition)

    for block in model.blocks:
        block.__class__ = Checkpointed


def epoch_indices(seed: int, count: int, start: int, size: int) -> np.ndarray:
    """Positions start to start + size of an endless sequence of shuffled passes over `count` clips."""
    positions = np.arange(start, start + size)
    indices = np.empty(size, np.int64)
    for epoch in np.unique(positions // count):
        order = step_rng(seed, int(epoch), _EPOCH_STREAM).permutation(count)
        here = positions // count == epoch
        indices[here] = order[positions[here] % count]
    return indices
