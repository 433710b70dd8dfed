"""Rivals on the clips of laws whose answers are known."""

import numpy as np
import pytest

from evals.predictors import baselines
from evals.scoring import cases
from evals.scoring.score import score


def case_of(name, index=0, given=8):
    (group,) = cases.choose_groups([name])
    return cases.make_case(group, index, given, 0)


def ade(case, prediction):
    return score(case.truth, prediction)[0]["ade"]


def test_constant_velocity_is_right_for_uniform_motion():
    case = case_of("uniform")
    assert ade(case, baselines.constant_velocity(case)) < 0.3
    assert ade(case, baselines.copy_last(case)) > 1


def test_a_ball_that_leaves_the_picture_is_placed_as_the_truth_places_what_is_left_of_it():
    leaving = [case for case in (case_of("uniform", index) for index in (1, 2, 5)) if not case.truth.whole[-1].all()]
    assert len(leaving) == 3
    for case in leaving:
        assert ade(case, baselines.constant_velocity(case)) < 0.1


def test_constant_acceleration_is_right_for_a_parabola():
    case = case_of("parabola")
    straight, bent = baselines.constant_velocity(case), baselines.constant_acceleration(case)
    assert ade(case, bent) < 0.5 * ade(case, straight)


def test_the_simulator_started_from_tracked_states_is_close_to_the_truth():
    for name in ("uniform", "parabola", "collision", "collide"):
        batch = [case_of(name, index) for index in range(3)]
        assert np.mean([ade(case, baselines.simulator(case)) for case in batch]) < 0.5


def test_a_clip_in_memory_is_found_again_and_repeated():
    case = case_of("collide:train", 3)
    memory = baselines.remember(case_of("collide"), 6)
    prediction = baselines.nearest_training_clip(case, memory)
    assert ade(case, prediction) < 0.1
    assert prediction.answer == case.clip.contact
    assert memory.majority is (sum(np.isfinite(t) for t in memory.touches) > 3)


def test_baselines_see_nothing_after_the_given_frames():
    case = case_of("collide", 1)
    before = [f(case).position for f in (baselines.constant_velocity, baselines.constant_acceleration)]
    other = case_of("collide", 1)
    other.clip.__dict__["frames"] = np.concatenate([case.frames[:8], np.zeros_like(case.frames[8:])])
    after = [f(other).position for f in (baselines.constant_velocity, baselines.constant_acceleration)]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("given", [1, 2, 12])
def test_any_number_of_given_frames(given):
    case = case_of("collide", 0, given)
    memory = baselines.remember(case, 2)
    for baseline in (
        baselines.copy_last,
        baselines.constant_velocity,
        baselines.constant_acceleration,
        baselines.simulator,
        lambda c: baselines.nearest_training_clip(c, memory),
    ):
        prediction = baseline(case)
        assert prediction.position.shape == case.truth.position.shape
        assert np.isfinite(prediction.position[given:][case.truth.visible[given:]]).all()


def test_rigid_outlines_that_close_in():
    case = case_of("collision")
    path = case.truth.position.copy()
    gap = baselines.rigid_gap(case, path)
    seen = case.truth.tracked.gap(case.roles["agent"], case.roles["patient"])
    assert gap is not None
    whole = case.truth.whole.all(1)
    assert whole.sum() > 8
    np.testing.assert_allclose(gap[whole], seen[whole], atol=0.5)
