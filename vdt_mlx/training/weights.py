"""The weights that are trained, with the optimizer's state and the moving average that is saved for use."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx

from vdt_mlx.training import optimizer
from vdt_mlx.training.config import OptimizerConfig
from vdt_mlx.training.optimizer import Flat, FlatOptimizer


class TrainedWeights:
    """Packed parameters, and all that a step changes."""

    def __init__(self, settings: OptimizerConfig, trained: Flat, matrices: frozenset[str]):
        """`trained`: the parameters by name; `matrices`: those that Muon may take."""
        self.settings = settings
        self.optimizer = FlatOptimizer(settings)
        self.packing = self.optimizer.packing(trained, matrices)
        self.parameters = self.packing.pack(trained)
        self.state: Flat = self.optimizer.init(self.parameters)
        self.ema: Flat = dict(self.parameters)
        self._update = mx.compile(self._pure_update)

    def step(self, gradients: Flat, step: int, steps: int) -> mx.array:
        """One step, number `step` of `steps`, lazily; returns the gradient's norm before clipping."""
        self.parameters, self.state, self.ema, norm = self._update(
            gradients,
            self.parameters,
            self.state,
            self.ema,
            mx.array(optimizer.rate_scale(self.settings, step, steps)),
            mx.array(optimizer.ema_decay(self.settings.ema, step)),
        )
        return norm

    def _pure_update(
        self, gradients: Flat, parameters: Flat, state: Flat, ema: Flat, scale: mx.array, decay: mx.array
    ) -> tuple[Flat, Flat, Flat, mx.array]:
        gradients, norm = optimizer.clip_by_norm(gradients, self.settings.clip)
        parameters, state = self.optimizer.update(gradients, parameters, state, scale)
        return parameters, state, optimizer.average(ema, parameters, decay), norm

    def arrays(self) -> tuple[Flat, Flat, Flat]:
        """What a step has to compute."""
        return self.parameters, self.state, self.ema

    @contextmanager
    def kept_on_error(self) -> Iterator[None]:
        """Brings the arrays of before the block back if it fails, so that what is saved then is whole."""
        before = self.arrays()
        try:
            yield
        except BaseException:
            self.parameters, self.state, self.ema = before
            raise

    def groups(self) -> dict[str, Flat]:
        """Everything that a resumed run needs, by name."""
        unpack = self.packing.unpack
        return {"parameters": unpack(self.parameters), "optimizer": self.state, "ema": unpack(self.ema)}

    def restore(self, groups: dict[str, Flat]) -> None:
        self.parameters = self.packing.pack(groups["parameters"])
        self.state = optimizer.in_order(groups["optimizer"], self.state)
        self.ema = self.packing.pack(groups["ema"])

    def averaged(self) -> Flat:
        """The moving average by name, or the parameters themselves where none is kept."""
        return self.packing.unpack(self.ema if self.settings.ema else self.parameters)
