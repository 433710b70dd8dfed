"""The loss of a batch and its gradients: compiled, in the run's precision, in parts, over all ranks."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from vdt_mlx.device.cpu_streams import lanes
from vdt_mlx.device.kernels import on_cpu
from vdt_mlx.diffusion.loss import coefficients, masked_losses
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.network.vdt import VDT
from vdt_mlx.training import optimizer
from vdt_mlx.training.config import TrainConfig
from vdt_mlx.training.draw import Draw
from vdt_mlx.training.optimizer import Flat, Packing


class Gradients:
    """Loss and gradients of a network on packed weights."""

    def __init__(
        self, config: TrainConfig, model: VDT, packing: Packing, world: mx.distributed.Group | None = None
    ) -> None:
        self.loop, self.normalise = config.loop, config.objective.normalise
        self.model, self.packing, self.world = model, packing, world
        self.rank, self.ranks = (world.rank(), world.size()) if world is not None else (0, 1)
        self.schedule = Schedule(config.diffusion)
        if self.loop.checkpointing:
            checkpoint_blocks(model)
        self._compute: Any = mx.compile(self._pure)

    def __call__(
        self, packed: Flat, x0: np.ndarray, drawn: Draw, classes: np.ndarray | None = None
    ) -> tuple[mx.array, Flat]:
        """The mean loss of the batch (B, T, h, w, C) over all ranks, and its gradients in fp32, packed as `packed`.

        `classes` (B,) int32: the labels of the clips, for a network that learns some.
        """
        with lanes(self.loop.lanes or None):
            loss, gradients = self._accumulated(packed, x0, drawn, classes)
            # On a GPU without waiting, and apart from the optimizer: short pieces of work let it draw the screen.
            (mx.eval if on_cpu() else mx.async_eval)(loss, gradients)
        if self.ranks > 1:
            names = sorted(gradients)  # as a list: MLX would take the dots in the names for levels of a tree
            averaged = nn.average_gradients([gradients[name] for name in names], self.world)
            gradients = dict(zip(names, averaged, strict=True))
            loss = mx.distributed.all_sum(loss, group=self.world) / self.ranks
        return loss, gradients

    def _accumulated(
        self, packed: Flat, x0: np.ndarray, drawn: Draw, classes: np.ndarray | None
    ) -> tuple[mx.array, Flat]:
        """Loss and gradients of this rank's share of the batch, in `accumulate` parts."""
        share = np.arange(self.rank, self.loop.batch, self.ranks)
        total: tuple[mx.array, Flat] | None = None
        for part in np.array_split(share, self.loop.accumulate):
            here = Draw(drawn.mask[part], drawn.t[part], drawn.noise[part])
            result = self._part(packed, x0[part], here, None if classes is None else classes[part])
            if self.loop.accumulate == 1:
                return result
            weight = len(part) / len(share)
            loss, gradients = result[0] * weight, {name: g * weight for name, g in result[1].items()}
            if total is not None:
                loss = loss + total[0]
                gradients = {name: g + total[1][name] for name, g in gradients.items()}
            mx.eval(loss, gradients)  # so that only one part's activations are alive
            total = loss, gradients
        assert total is not None
        return total

    def _part(self, packed: Flat, x0: np.ndarray, drawn: Draw, classes: np.ndarray | None) -> tuple[mx.array, Flat]:
        latents = mx.array(x0).astype(mx.float32)
        arrays = [drawn.mask, drawn.t.astype(np.float32), drawn.noise, coefficients(self.schedule, drawn.t)]
        arrays += [] if classes is None else [classes]
        return self._compute(packed, latents, *(mx.array(a) for a in arrays))

    def _pure(
        self,
        packed: Flat,
        x0: mx.array,
        mask: mx.array,
        t: mx.array,
        noise: mx.array,
        weights: mx.array,
        y: mx.array | None = None,
    ) -> tuple[mx.array, Flat]:
        def loss(network: Any) -> mx.array:
            labelled = network if y is None else lambda x, t, given: network(x, t, given, y)
            losses = masked_losses(self.schedule, labelled, x0, mask, t, noise, weights, normalise=self.normalise)
            return losses.total.mean()

        return self._of(loss, packed)

    def _of(self, loss: Callable[[Any], mx.array], packed: Flat) -> tuple[mx.array, Flat]:
        """The loss of a network with these weights, in the run's precision, and its gradients, packed, in fp32."""
        dtype = mx.bfloat16 if self.loop.precision == "bf16" else mx.float32

        def of_weights(parameters: Flat) -> mx.array:
            self.model.update(optimizer.unflatten(parameters))
            return loss(self._in_precision(self.model))

        weights = self.packing.unpack({group: value.astype(dtype) for group, value in packed.items()})
        value, gradients = mx.value_and_grad(of_weights)(weights)
        packed = self.packing.pack(gradients)
        return value, {group: gradient.astype(mx.float32) for group, gradient in packed.items()}

    def _in_precision(self, network: VDT) -> Any:
        if self.loop.precision == "fp32":
            return network
        return lambda x, t, given, y=None: network(x.astype(mx.bfloat16), t, given, y).astype(mx.float32)


def checkpoint_blocks(model: VDT) -> None:
    """Recompute each block's activations in the backward pass instead of keeping them."""
    kind = type(model.blocks[0])

    class Checkpointed(kind):  # type: ignore[misc, valid-type]
        def __call__(self, *arguments: Any) -> mx.array:
            return nn.utils.checkpoint(self, super().__call__)(*arguments)

    for block in model.blocks:
        block.__class__ = Checkpointed
