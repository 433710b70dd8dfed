"""Preferences with known answers: a model that memorises the possible clips scores 100 %, a constant one 50 %."""

import numpy as np
import pytest

from evals.surprise import preference, section
from physics_sim.twins import KINDS, make_twins


def test_the_lower_score_is_preferred_and_equals_are_a_tie() -> None:
    assert preference.prefers_possible(1, 2) == 1 and preference.prefers_possible(2, 1) == 0
    assert preference.prefers_possible(1, 1) == 0.5


def test_frame_difference_and_nearest_distance_have_their_closed_forms() -> None:
    frames = np.zeros((6, 32, 32, 3), np.uint8)
    frames[3:] = 9
    assert preference.frame_difference(frames, 3) == pytest.approx(9 / 3)
    library = np.zeros((2, 6, 16, 16, 3), np.float32)
    library[1] = 9
    assert preference.nearest_distance(frames, library, 3) == 0
    assert preference.nearest_distance(frames, library[:1], 3) == pytest.approx(9)


class Pipeline:
    """A network that knows some clips by heart: for these its denoising loss is zero."""

    class config:
        pass

    def __init__(self, known, constant=False) -> None:
        import mlx.core as mx

        from vdt_mlx.config import DiffusionConfig
        from vdt_mlx.diffusion.schedule import Schedule

        self.schedule = Schedule(DiffusionConfig(prediction="sample", schedule="flow", sampler="euler"))
        self.known = mx.stack([self._latents(clip) for clip in known])
        self.constant = constant

    def _latents(self, frames):
        import mlx.core as mx

        return mx.array(frames.reshape(16, 8, 8, 8, 8, 3).mean((2, 4)).astype(np.float32) / 127.5 - 1)

    def encode(self, frames):
        import mlx.core as mx

        return mx.stack([self._latents(clip) for clip in frames])

    def decode(self, latents):
        return np.repeat(np.repeat((np.array(latents) + 1) * 127.5, 8, 2), 8, 3).astype(np.uint8)

    def network(self, x, t, given=None):
        import mlx.core as mx

        if self.constant:
            return mx.zeros(x.shape)
        # The clip that begins as this one does.
        apart = (self.known[None, :, :8] - x[:, None, :8]).square().sum(axis=(2, 3, 4, 5))
        return self.known[apart.argmin(axis=1)]


def test_memory_scores_everything_and_a_tie_half() -> None:
    pairs = [make_twins(kind, index) for kind in list(KINDS)[:3] for index in range(2)]
    memory = Pipeline([pair.possible for pair in pairs])
    for number, pair in enumerate(pairs):
        losses = preference.denoising_losses(memory, (pair.possible, pair.impossible), 8, number)
        assert losses[0] == pytest.approx(0, abs=1e-9) and preference.prefers_possible(*losses) == 1
    same = preference.denoising_losses(memory, (pairs[0].possible, pairs[0].possible), 8, 1)
    assert same[0] == same[1]


def test_the_same_noise_for_both_and_another_for_the_next_pair() -> None:
    clips = [make_twins("jump", 0).possible] * 2
    model = Pipeline([np.zeros((16, 64, 64, 3), np.uint8)])
    first, again = (preference.denoising_losses(model, clips, 8, 3) for _ in range(2))
    assert first[0] == first[1] and (first == again).all()


def test_a_part_of_the_examination(context_of, checkpoint) -> None:
    from evals.predictors.checkpoint import Checkpoint

    context = context_of((Checkpoint(str(checkpoint)),), clips=2)
    assert list(section.SECTION.jobs(context)) == list(KINDS) and not section.SECTION.jobs(context_of(()))
    parts = {kind: section.SECTION.examine(kind, context, lambda step: None) for kind in ("jump", "stop")}
    found = section.SECTION.gather(parts, context)
    entry = found["mean"]["models"]["tiny"]
    assert 0 <= entry["low"] <= entry["mean"] <= entry["high"] <= 1 and entry["count"] == 4
    balanced = [pair for part in parts.values() for pair in part["balanced"]]
    if all(balanced):
        assert found["mean"]["controls"]["frame_difference"]["mean"] == 0.5
    body = {"model": "tiny", "predictors": [{"name": "tiny", "title": "tiny"}]}
    assert "possible clip likelier" in section.SECTION.verdict(found, body)[0]["text"]
    assert [row[0] for row in section.SECTION.grids(found, body)[0].rows] == ["jump", "stop", "mean"]
