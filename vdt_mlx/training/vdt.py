"""Training a VDT on latents: what `training.loop` runs, made of batches, draws, gradients and weights."""

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from vdt_mlx.checkpoint import cast, flat_parameters, save_checkpoint
from vdt_mlx.config import CheckpointConfig
from vdt_mlx.network import parts
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.network.vdt import VDT
from vdt_mlx.pipeline import Pipeline
from vdt_mlx.training import draw as objective
from vdt_mlx.training.batches import LatentBatches
from vdt_mlx.training.config import TrainConfig
from vdt_mlx.training.draw import Draw, step_rng
from vdt_mlx.training.gradients import Gradients
from vdt_mlx.training.optimizer import Flat, scalar
from vdt_mlx.training.prefetch import Ahead
from vdt_mlx.training.weights import TrainedWeights


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
        self.config, self.loop = config, config.loop
        self.autoencoder, self.world = autoencoder, world
        self.batches = LatentBatches(config, autoencoder, cache, world)
        mx.random.seed(self.loop.seed)
        model = VDT(config.vdt)
        if weights is not None:
            model.load_weights(list(weights.items()))
        trained: Flat = dict(tree_flatten(model.trainable_parameters()))
        self.fixed: Flat = {name: v for name, v in flat_parameters(model).items() if name not in trained}
        matrices = frozenset(item.name for item in parts.of_model(model) if item.carries_tokens)
        self.weights = TrainedWeights(config.optimizer, trained, matrices)
        self.gradients = Gradients(config, model, self.weights.packing, world)
        self._draws = Ahead(self._draw, in_thread=True)
        self._ahead = Ahead(self._clips, in_thread=False)
        self._reconstruction: dict[str, float] | None = None

    def fill(self, step: int, progress: Callable[[int], None]) -> None:
        """Makes the clips ready that the step needs."""
        self.batches.fill(step, progress)

    def train_step(self, step: int) -> dict[str, float]:
        """One step; returns its loss and gradient norm, averaged over all ranks."""
        (x0, classes), drawn = self._ahead.take(step), self._draws.take(step)
        with self.weights.kept_on_error():
            loss, gradients = self.gradients(self.weights.parameters, x0, drawn, classes)
            norm = self.weights.step(gradients, step, self.loop.steps)
            mx.async_eval(*self.weights.arrays(), loss)
            if step + 1 < self.loop.steps:
                self._draws.prepare(step + 1)
                self._ahead.prepare(step + 1)
            mx.eval(*self.weights.arrays(), loss)
        return {"loss": scalar(loss), "grad_norm": scalar(norm)}

    def _clips(self, step: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The step's latents and their classes."""
        return self.batches.batch(step), self.batches.classes(step)

    def _draw(self, step: int) -> Draw:
        rng = step_rng(self.loop.seed, step)
        return objective.draw(self.config.objective, self.config.vdt, self.gradients.schedule, self.loop.batch, rng)

    def groups(self) -> dict[str, Flat]:
        """Everything that a resumed run needs, besides the number of the step."""
        return self.weights.groups()

    def restore(self, groups: dict[str, Flat]) -> None:
        self.weights.restore(groups)

    def averaged(self) -> VDT:
        """The network with the averaged weights, for use."""
        model = VDT(self.config.vdt)
        model.load_weights(list({**self.fixed, **self.weights.averaged()}.items()))
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
            self.checkpoint_config({**facts, **self.reconstruction()}),
            vdt=cast(flat_parameters(self.averaged()), dtype),
            autoencoder=cast(flat_parameters(self.autoencoder), dtype),
            replace=True,
        )

    def reconstruction(self) -> dict[str, float]:
        """How well the autoencoder shows clips like these, so that one that is unlike them can be told later."""
        from vdt_mlx.training.autoencoder import reconstruction_of

        if self._reconstruction is None:
            self._reconstruction = reconstruction_of(self.config, self.autoencoder)
        return self._reconstruction

    def preview(self, folder: Path, step: int) -> dict[str, float]:
        """A sheet of predictions for held-out clips below the truth; returns their scores."""
        from vdt_mlx.frame_score import score_frames
        from vdt_mlx.media.pictures import save_sheet
        from vdt_mlx.pair_score import score_clips
        from vdt_mlx.training.autoencoder import held_out_clips
        from vdt_mlx.training.validate import predict_clips

        clips = held_out_clips(self.config, self.loop.preview_clips)
        predicted = predict_clips(Pipeline(self.checkpoint_config({}), self.averaged(), self.autoencoder), clips)
        save_sheet(folder / f"step-{step:08d}.png", list(zip(clips[:8], predicted[:8], strict=True)))
        return (score_frames if self.config.data.source == "videos" else score_clips)(clips, predicted)

    def agree(self, stop: bool) -> bool:
        """Whether any rank wants to stop; all get the same answer."""
        if self.gradients.ranks == 1:
            return stop
        return scalar(mx.distributed.all_sum(mx.array(float(stop)), group=self.world)) > 0

    def close(self) -> None:
        self._draws.close()
        self.batches.close()
