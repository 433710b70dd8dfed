"""Every metric against an answer worked out by hand."""

import numpy as np
import pytest

from evals.scoring import metrics

NAN = (np.nan, np.nan)


def one(*points):
    """Positions of one object, (F, 1, 2)."""
    return np.array(points, float)[:, None]


def two(first, second):
    """Positions of two objects, (F, 2, 2)."""
    return np.stack([np.array(first, float), np.array(second, float)], 1)


def always(positions):
    return np.ones(positions.shape[:2], bool)


def test_displacement_charges_a_vanished_object_as_much_as_the_largest_error():
    truth = one((0, 0), (0, 0), (0, 0), (0, 0))
    predicted = one((3, 4), NAN, (100, 0), (0, 0))
    visible = np.array([[True], [True], [True], [False]])
    error = metrics.displacement(truth, predicted, visible)
    np.testing.assert_allclose(error[:, 0], [5, 20, 20, np.nan])
    assert metrics.ade(error) == 15
    assert metrics.ade(error, np.array([True, False, False, True])) == 5
    assert np.isnan(metrics.fde(error))
    assert metrics.fde(error[:3]) == 20


def test_velocity_error():
    truth = one((0, 0), (1, 0), (2, 0), (2, 0))
    predicted = one((0, 0), (1, 1), (2, 1), NAN)
    # velocities differ by (0, 1), (0, 0); the last is absent and costs the cutoff of 4
    assert metrics.velocity_error(truth, predicted, always(truth)) == pytest.approx(5 / 3)
    assert metrics.velocity_error(truth, predicted, always(truth), after=0.5) == pytest.approx(2)
    hidden = np.array([[True], [True], [True], [False]])
    assert metrics.velocity_error(truth, predicted, hidden) == pytest.approx(0.5)


def test_presence_and_duplicates():
    predicted = two([(1, 1), NAN], [(2, 2), (3, 3)])
    visible = np.array([[True, True], [True, False]])
    assert metrics.presence(predicted, visible) == pytest.approx(2 / 3)
    assert metrics.duplicates(np.array([[1, 0], [2, 3]])) == pytest.approx(2 / 3)


def test_size_drift():
    area, truth = np.array([[50.0, 12.0], [0.0, 10.0]]), np.array([[100.0, 10.0], [100.0, 10.0]])
    whole = np.array([[True, True], [True, False]])
    assert metrics.size_drift(area, truth, whole) == pytest.approx((0.5 + 0.2) / 2)


def test_identity_swaps_counts_onsets():
    a, b = [(0, 0)] * 5, [(20, 0)] * 5
    truth = two(a, b)
    assert metrics.identity_swaps(truth, truth, always(truth)) == 0
    predicted = truth.copy()
    predicted[[1, 2, 4]] = predicted[[1, 2, 4], ::-1]
    assert metrics.identity_swaps(truth, predicted, always(truth)) == 2
    near = two([(0, 0)], [(2, 0)])  # closer than the margin: no one can say
    assert metrics.identity_swaps(near, near[:, ::-1], always(near)) == 0


def test_overlap_is_the_depth_of_the_inner_discs():
    predicted = two([(0, 0), (0, 0), NAN], [(6, 0), (10, 0), (0, 0)])
    assert metrics.overlap(predicted, [5, 4]) == pytest.approx(3 / 2)
    assert np.isnan(metrics.overlap(one((0, 0)), [3]))


def test_momentum_residual():
    truth = two([(0, 0), (2, 0), (4, 0)], [(10, 0), (9, 0), (8, 0)])
    assert metrics.momentum_residual(truth, truth, [1, 3], always(truth)) == 0
    predicted = truth.copy()
    predicted[1:, 1, 0] += 0.5  # interval 1 gains 3 x 0.5, interval 2 nothing; scale 1 x 2 + 3 x 1
    assert metrics.momentum_residual(truth, predicted, [1, 3], always(truth)) == pytest.approx((1.5 / 5 + 0) / 2)
    predicted[2, 0] = np.nan
    assert metrics.momentum_residual(truth, predicted, [1, 3], always(truth)) == pytest.approx((1.5 / 5 + 1) / 2)


def test_energy_residual_of_a_fall():
    time = np.arange(6.0)
    fall = np.stack([2 * time, 0.5 * 0.3 * time**2], -1)[:, None]  # y is down, gravity .3 pixels a frame^2
    assert metrics.energy_residual(fall, fall, [2], always(fall), gravity=0.3) == 0
    still = np.repeat(fall[:1], 6, 0)
    # E is conserved at m v0^2 / 2 = 4 (up to the constant of the mean height); standing still has 0
    kinetic = 4 + ((np.diff(fall[:, 0, 1])) ** 2).mean()
    expected = np.abs(0 - (4 + (0.3**2) * (time[:5] + 0.5) ** 2 - 0.6 * (fall[1:, 0, 1] + fall[:-1, 0, 1]) / 2))
    assert metrics.energy_residual(fall, still, [2], always(fall), gravity=0.3) == pytest.approx(
        expected.mean() / kinetic
    )


def test_energy_residual_leaves_out_the_interval_of_a_contact():
    truth = one((0, 0), (1, 0), (1.5, 0), (0.5, 0))
    predicted = one((0, 0), (1, 0), (3, 0), (4, 0))
    assert metrics.energy_residual(truth, predicted, [1], always(truth)) == pytest.approx(
        (0 + (2**2 - 0.5**2) / 2 + 0) / (0.5 + 0.125 + 0.5)
    )
    assert metrics.energy_residual(truth, predicted, [1], always(truth), contacts=[1.4]) == 0


def test_contact_score_sees_a_bounce_between_two_frames():
    assert metrics.contact_score([5, 3, 1, 1, 3]) == pytest.approx(0)
    assert metrics.contact_score([5, 4, 3, 3.5]) == 3
    assert np.isnan(metrics.contact_score([np.nan, np.nan]))
    assert metrics.contact_score([np.nan, 4, np.nan]) == 4


def test_contact_time_is_where_the_approach_reaches_zero():
    assert metrics.contact_time([6, 4, 2, 1.2, 3], threshold=1.4) == pytest.approx(2 + 1.8 / 2)
    assert metrics.contact_time([3, 1], threshold=1.4, zero=0) == pytest.approx(1.5)
    assert metrics.contact_time([0, 5], threshold=1) == 0
    assert np.isnan(metrics.contact_time([3, 2], threshold=1))


def test_energy_score():
    truth = one((0, 0))
    samples = [one((1, 0)), one((-1, 0))]
    assert metrics.energy_score(truth, samples, always(truth)) == pytest.approx(1 - 2 / 2)
    assert metrics.energy_score(truth, [one(NAN), one((0, 0))], always(truth)) == pytest.approx(10 - 20 / 2)
    assert np.isnan(metrics.energy_score(truth, samples[:1], always(truth)))


def test_energy_score_is_proper_where_best_of_k_is_not():
    generator = np.random.default_rng(0)
    scores = {}
    for width in (0.3, 1.0, 3.0):
        values = []
        for _ in range(400):
            truth = one(generator.normal(0, 1, 2))
            samples = [one(generator.normal(0, width, 2)) for _ in range(6)]
            values.append(metrics.energy_score(truth, samples, always(truth)))
        scores[width] = np.mean(values)
    assert scores[1.0] < scores[0.3] and scores[1.0] < scores[3.0]


def test_ssim():
    black, grey = np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 16, 16, 3), 51, np.uint8)
    c1 = 2.55**2
    assert metrics.ssim(black, grey) == pytest.approx(c1 / (51**2 + c1), rel=1e-4)
    assert metrics.ssim(grey, grey) == pytest.approx(1)


def test_bootstrap_is_paired_and_leaves_out_nan():
    generator = np.random.default_rng(1)
    base = generator.normal(5, 3, 200)
    better = base - 0.1 + generator.normal(0, 0.01, 200)
    first, second, difference = metrics.bootstrap(np.stack([base, better, better - base]))
    assert first.low < second.mean < first.high  # apart, no one could tell
    assert difference.high < 0  # paired, it is plain
    assert difference.mean == pytest.approx(second.mean - first.mean)
    (hole,) = metrics.bootstrap(np.array([1.0, 3.0, np.nan]))
    assert (hole.mean, hole.count, hole.missing) == (2, 2, 1)
    (nothing,) = metrics.bootstrap(np.array([np.nan]))
    assert nothing.count == 0 and np.isnan(nothing.low)


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(2)
    hits = 0
    for trial in range(200):
        (interval,) = metrics.bootstrap(generator.normal(1, 1, 60), resamples=400, seed=trial)
        hits += interval.low <= 1 <= interval.high
    assert 0.89 <= hits / 200 <= 0.99
