"""Responses with known answers: a predictor that knows has slope 1, one that copies or remembers has 0."""

import numpy as np
import pytest

from evals.predictors.frames import Continuation, FrameSource
from evals.probes import section
from evals.probes.response import Effects, along, imagined_collision, metres, response
from physics_sim.families import FAMILIES, agent_of, effect, make_probe, true_effect

RNG = np.random.default_rng(0)
TRUE = RNG.normal(0, 1, (6, 5)) + RNG.normal(0, 3, (6, 1))


def respond(predicted) -> section.Response:
    return response([Effects(true, guess) for true, guess in zip(TRUE, predicted, strict=True)])


def test_the_truth_has_slope_one() -> None:
    found = respond(TRUE)
    assert (found.slope, found.low, found.high, found.intercept) == pytest.approx((1, 1, 1, 0))
    assert found.count == 30 and found.missing == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.4])
def test_reading_a_share_of_it_has_that_slope(share: float) -> None:
    """Also where seeds differ in what everything else does: each has an intercept of its own."""
    middle = TRUE.mean(axis=1, keepdims=True)
    assert respond(middle + share * (TRUE - middle)).slope == pytest.approx(share)


def test_what_is_always_added_is_the_intercept_and_not_the_slope() -> None:
    found = respond(TRUE + 1.5)
    assert found.slope == pytest.approx(1) and found.intercept == pytest.approx(1.5)


def test_noise_widens_the_interval_around_the_truth() -> None:
    found = respond(TRUE + RNG.normal(0, 0.3, TRUE.shape))
    assert found.low < 1 < found.high and 0.02 < found.high - found.low < 0.8


def test_missing_agents_are_counted_and_not_guessed() -> None:
    guess = TRUE.copy()
    guess[:, 0] = np.nan
    found = respond(guess)
    assert found.missing == 6 and found.slope == pytest.approx(1)
    assert np.isnan(respond(np.full_like(TRUE, np.nan)).slope)


@pytest.mark.parametrize("name", FAMILIES)
def test_tracked_paths_have_the_simulator_s_effect(name: str) -> None:
    family = FAMILIES[name]
    clip = make_probe(name, family.values[0], 3)
    pixels = np.stack([clip.position[..., 0] * 6.4, 64 - clip.position[..., 1] * 6.4], -1)[:, agent_of(clip)]
    path = metres(pixels, 64, 10.0)
    assert along(path, family.axis, 8) == pytest.approx(true_effect(clip))
    assert effect(name, path, 8) == pytest.approx(true_effect(clip))
    path[10:] = np.nan
    assert np.isnan(along(path, family.axis, 8))


def test_a_bent_path_without_a_collision_is_noticed() -> None:
    path = np.stack([np.arange(16.0) * 0.2, np.full(16, 5.0)], -1)
    stopped = path.copy()
    stopped[10:] = stopped[10]
    assert imagined_collision(path, path, 8, 0.5) == 0
    assert imagined_collision(path, stopped, 8, 0.5) == 1
    assert np.isnan(imagined_collision(path, np.full_like(path, np.nan), 8, 0.5))


class Truth(FrameSource):
    """Sees the whole clip; a model that knows everything."""

    def complete(self, cases):
        return [[case.frames for case in cases]]


class Frozen(Continuation):
    def predict(self, starts):
        return [[np.repeat(start.frames[-1:], start.total - len(start.frames), 0) for start in starts]]


@pytest.mark.parametrize("name", ["gravity", "meeting"])
def test_the_simulator_responds_and_copying_does_not(name: str, context_of) -> None:
    sources = (Truth("truth", "truth", "model", ""), Frozen("frozen", "frozen", "model", ""))
    part = section.SECTION.examine(name, context_of(sources), lambda step: None)
    found = section.SECTION.gather({name: part}, context_of(sources))
    slopes = {who: entry["slope"] for who, entry in found["families"][name]["responses"].items()}
    assert slopes["truth"] == pytest.approx(1, abs=0.02) and slopes["simulator"] == pytest.approx(1, abs=0.06)
    assert slopes["frozen"] == pytest.approx(0, abs=0.02) and slopes["copy_last"] == pytest.approx(0, abs=1e-6)
    body = {"model": "frozen", "predictors": [{"name": s.name, "title": s.title} for s in sources]}
    said = [line["text"] for line in section.SECTION.verdict(found, body)]
    assert f"It does not read {FAMILIES[name].title}" in said[0]
    assert "slope" in str(section.SECTION.figures(found, body)[0])
    assert len(section.SECTION.grids(found, body)[0].rows) == 6
    if name == "meeting":
        imagined = found["families"]["meeting"]["imagined"]
        assert imagined["truth"]["share"] == 0 and imagined["frozen"]["share"] == 1
        assert imagined["truth"]["count"] >= 12
