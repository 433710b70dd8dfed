"""PhyWorld's metric: what its own script computed on three small files, a rewrite of the formula, and closed forms.

`tests/golden/phyworld/expected.json` holds what `evaluate_xy` and `evaluate_xy_collision` of its `evaluate.py` (commit
ee0e473, Apache 2.0) gave for the files beside it: of each clip's own frames, of the next clip's, and of its own frames
with nothing in some of them.
"""

import json
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from evals.scoring import phyworld as metric
from physics_sim import phyworld

pytest.importorskip("h5py")
GOLDEN = Path(__file__).parents[2] / "golden" / "phyworld"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
SIZE = 256


@lru_cache
def clips_of(law):
    with phyworld.File(GOLDEN / f"{phyworld.FILES[law]}_train.hdf5") as file:
        return list(file.clips())


def variants(clips, i):
    gone = clips[i].frames.copy()
    gone[3:6] = gone[20:] = 255
    return {"own": clips[i].frames, "other": clips[(i + 1) % len(clips)].frames, "gone": gone}


@pytest.mark.parametrize("law", phyworld.FILES)
def test_it_gives_what_the_script_of_phyworld_gives(law):
    clips = clips_of(law)
    assert len(clips) == 5
    for i, clip in enumerate(clips):
        for name, frames in variants(clips, i).items():
            found = metric.score_frames(law, clip.init, clip.position, frames, metric.Ruler(None))
            expected = EXPECTED[law][name][i]
            assert set(expected) == set(metric.LAWS[law])
            for key, value in expected.items():
                value = np.nan if value is None else value
                assert found[f"phyworld_{key}"] == pytest.approx(value, abs=1e-6, nan_ok=True), (i, name, key)


def rewrite(clip, frames):
    """The published number of uniform motion once more, in plain loops, from the paper and not from our code."""
    places = []
    for t in range(3, 31):
        x, y = clip.position[t, 0]
        radius = clip.init[0]
        if min(x, y) - radius < 0 or max(x, y) + radius > 10:
            continue
        red = [
            column
            for row in frames[t].tolist()
            for column, (r, g, b) in enumerate(row)
            if r > 127 and g < 127 and b < 127
        ]
        places.append(sum(red) / len(red) / frames.shape[2] * 10 if red else 10.0)
    steps = [(b - a) / 0.1 for a, b in pairwise(places)]
    return abs(sum(steps) / len(steps) - clip.init[1])


def test_it_is_the_formula_written_another_way():
    clips = clips_of("uniform")
    for name in ("own", "other", "gone"):
        frames = variants(clips, 1)[name]
        found = metric.score_frames("uniform", clips[1].init, clips[1].position, frames, metric.Ruler(None))
        assert found["phyworld_vel_error"] == pytest.approx(rewrite(clips[1], frames), abs=1e-6)


def drawn(states, radius, colour=(255, 0, 0), size=SIZE, steps=SIZE - 1):
    """Frames as PhyWorld's generator draws them: pixel i stands at i / 255 of the picture; soft edges; upright."""
    grid = np.arange(size) / steps * 10
    frames = np.full((len(states), size, size, 3), 255.0)
    for frame, (x, y) in zip(frames, states, strict=True):
        inside = np.clip((radius**2 - (grid - x)[None] ** 2 - (grid - y)[:, None] ** 2) / (0.03 * radius**2), 0, 1)
        frame += inside[::-1, :, None] * (np.array(colour) - frame)
    return frames.astype(np.uint8)


@pytest.mark.parametrize("speed", [2.5])
def test_its_ruler_is_255_of_256_and_the_unbiased_one_is_not(speed):
    x = 1.2 + speed * (0.01 + 0.1 * np.arange(32))
    states = np.stack([x, np.full(32, 4.0)], -1)[:, None]
    frames = drawn(states[:, 0], 1.0)
    found = metric.score_frames("uniform", (1.0, speed), states, frames, metric.Ruler(255))
    assert found["phyworld_vel_error"] == pytest.approx(speed / 256, abs=0.002)
    assert found["phyworld_vel_error_unbiased"] < 0.002
    assert found["phyworld_abs_x_err_avg_unbiased"] < 0.01 and found["phyworld_abs_y_err_avg_unbiased"] < 0.01
    # Smaller pictures are read without bias too: each pixel is the mean of those that it covers.
    small = frames.reshape(32, 64, 4, 64, 4, 3).mean((2, 4)).astype(np.uint8)
    found = metric.score_frames("uniform", (1.0, speed), states, small, metric.Ruler(255))
    assert found["phyworld_vel_error"] == pytest.approx(speed / 256, abs=0.008)
    assert found["phyworld_vel_error_unbiased"] < 0.008
    assert found["phyworld_abs_x_err_avg_unbiased"] < 0.02


def test_rulers_and_their_inverses():
    at = np.linspace(0, 10, 7)
    for ruler in (metric.Ruler(None), metric.Ruler(255)):
        np.testing.assert_allclose(ruler.metres(ruler.place(at)), at, atol=1e-12)
    assert metric.Ruler(255).place(np.array([0.0, 10.0])) == pytest.approx([5 / 256, 10 - 5 / 256])


def test_states_are_measured_by_no_ruler_and_the_truth_has_no_error():
    for law in metric.LAWS:
        clip = clips_of(law)[0]
        found = metric.score_states(law, clip.init, clip.position, clip.position)
        for key in metric.LAWS[law]:
            if key != "delta_r" and "momentum" not in key and "energy" not in key:
                assert found[f"phyworld_{key}"] == pytest.approx(0, abs=1e-5), key
        shifted = metric.score_states(law, clip.init, clip.position, clip.position + np.array([0.5, -0.25]))
        name = "phyworld_post_x_err_avg" if law == "collision" else "phyworld_abs_x_err_avg"
        assert shifted[name] == shifted[name + "_unbiased"] == pytest.approx(0.5)


def test_a_ball_that_is_absent_is_set_to_the_edge():
    clip = clips_of("uniform")[0]
    empty = np.full((32, 64, 64, 3), 255, np.uint8)
    found = metric.score_frames("uniform", clip.init, clip.position, empty, metric.Ruler(None))
    scored = metric.scored_frames(clip.init, clip.position[:-1])
    assert found["phyworld_vel_error"] == pytest.approx(clip.init[1])
    assert found["phyworld_abs_x_err_avg"] == pytest.approx((10 - clip.position[scored, 0, 0]).mean())
    assert np.isnan(found["phyworld_abs_y_err_avg"]) and np.isnan(found["phyworld_delta_r"])


def test_a_clip_with_nothing_to_score_gives_nothing():
    clip = clips_of("uniform")[0]
    away = clip.position + 20.0
    assert all(np.isnan(v) for v in metric.score_states("uniform", clip.init, away, away).values())
    assert list(metric.metrics_of("parabola")) == [
        "phyworld_abs_x_err_avg",
        "phyworld_abs_x_err_avg_unbiased",
        "phyworld_abs_y_err_avg",
        "phyworld_abs_y_err_avg_unbiased",
        "phyworld_delta_r",
    ]
