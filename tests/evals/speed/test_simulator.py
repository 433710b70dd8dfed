"""The simulator's benchmark: it measures both, and the plain loop draws the same clips."""

import numpy as np
import pytest

from evals.speed import simulator as benchmark
from physics_sim.clip import Clip
from physics_sim.sampling import make_clip


def test_the_benchmark_measures_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SCENARIOS", ("collide",))
    monkeypatch.setattr(benchmark, "LAWS", ("uniform",))
    result = benchmark.measure(0)
    for row in (result["scenarios"]["collide"], result["laws"]["uniform"], result["laws_mean"]):
        assert row["clips_per_second"] > 0 and row["plain_clips_per_second"] > 0
    assert result["laws_mean"]["clips_per_second"] == pytest.approx(
        result["laws"]["uniform"]["clips_per_second"], rel=0.01
    )


@pytest.mark.parametrize("scenario", ["collision", "link", "contain"])
def test_the_plain_loop_draws_the_same_clip(scenario: str) -> None:
    clip: Clip = make_clip(scenario, "train", 1)
    plain = benchmark.plain_clip(clip, benchmark.SUPERSAMPLING)
    assert np.abs(plain[0].astype(float) - clip.frames[0]).mean() < 3
    assert np.abs(plain.astype(float) - clip.frames).mean() < 8
