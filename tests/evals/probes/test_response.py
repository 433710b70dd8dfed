"""Responses with known answers: a predictor that knows has slope 1, one that copies or remembers has 0."""

import numpy as np
import pytest

from evals.probes.response import effects, imagined_collisions, response

GIVEN, TIME = 4, 12
GRAVITY = np.array([0.0, 0.1, 0.2, 0.3])


def falls(seed: int, gravity: np.ndarray = GRAVITY, offset: float = 0.0) -> np.ndarray:
    """(V, T, 1, 2) paths of one ball under several gravities; the start depends on the seed alone."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(10, 20, 2), rng.uniform(0.5, 1.5, 2)
    time = np.arange(TIME)[None, :, None]
    path = start + speed * time + np.array([0.0, 0.5]) * gravity[:, None, None] * time**2
    path[:, GIVEN:, 1] += offset
    return path[:, :, None, :]


def respond(guess, seeds: int = 6):
    seen = np.ones((len(GRAVITY), TIME, 1), bool)
    return response([effects(falls(seed), guess(falls(seed), seed), seen, GIVEN) for seed in range(seeds)])


def test_the_truth_has_slope_one() -> None:
    found = respond(lambda true, seed: true)
    assert found.slope == pytest.approx(1) and found.low == pytest.approx(1) and found.high == pytest.approx(1)
    assert found.intercept == pytest.approx(0, abs=1e-9) and found.count == 24 and found.missing == 0


def test_copying_the_last_frame_has_slope_zero() -> None:
    found = respond(lambda true, seed: np.concatenate([true[:, :GIVEN], true[:, GIVEN - 1 :][:, :1].repeat(8, 1)], 1))
    assert found.slope == pytest.approx(0, abs=1e-9)


def test_remembering_one_gravity_has_slope_zero() -> None:
    """It goes on from where the ball is as if gravity were always the same."""

    def remember(true: np.ndarray, seed: int) -> np.ndarray:
        moved = falls(seed, np.full(len(GRAVITY), 0.2))
        return np.concatenate(
            [true[:, :GIVEN], true[:, GIVEN - 1 : GIVEN] + moved[:, GIVEN:] - moved[:, GIVEN - 1 : GIVEN]], 1
        )

    assert respond(remember).slope == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.9, 1.4])
def test_reading_a_share_of_it_has_that_slope(share: float) -> None:
    def part(true: np.ndarray, seed: int) -> np.ndarray:
        middle = true.mean(axis=0, keepdims=True)
        guess = middle + share * (true - middle)
        return guess + (true[:, GIVEN - 1 : GIVEN] - guess[:, GIVEN - 1 : GIVEN])

    assert respond(part).slope == pytest.approx(share)


def test_what_is_always_added_is_the_intercept_and_not_the_slope() -> None:
    found = respond(lambda true, seed: falls(seed, offset=1.5))
    assert found.slope == pytest.approx(1) and abs(found.intercept) == pytest.approx(1.5)


def test_noise_widens_the_interval_around_the_truth() -> None:
    rng = np.random.default_rng(3)
    found = respond(lambda true, seed: true + rng.normal(0, 1.0, true.shape), seeds=20)
    assert found.low < 1 < found.high and found.high - found.low < 0.4


def test_vanished_objects_are_counted_and_not_guessed() -> None:
    def vanish(true: np.ndarray, seed: int) -> np.ndarray:
        guess = true.copy()
        guess[0, GIVEN:] = np.nan
        return guess

    found = respond(vanish)
    assert found.missing == 6 and found.slope == pytest.approx(1)
    assert np.isnan(respond(lambda true, seed: np.full_like(true, np.nan)).slope)


def test_frames_out_of_sight_for_one_value_count_for_none() -> None:
    true = falls(0)
    guess = true.copy()
    guess[:, -2:] += 100  # where the fastest ball has left the picture
    seen = np.ones(true.shape[:3], bool)
    seen[3, -2:] = False
    assert response([effects(true, guess, seen, GIVEN)]).slope == pytest.approx(1)


def test_a_bent_path_without_a_collision_is_noticed() -> None:
    true = falls(0, np.zeros(3))
    guess = true.copy()
    guess[1, GIVEN:, 0] = guess[1, GIVEN - 1, 0]  # stops
    guess[2, GIVEN:, 0] = np.nan  # vanishes
    found = imagined_collisions(true, guess, np.ones(true.shape[:3], bool), GIVEN, 2.0)
    assert found[0] == 0 and found[1] == 1 and np.isnan(found[2])
