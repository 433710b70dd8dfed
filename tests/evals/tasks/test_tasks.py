"""The tasks' scores with known answers, and every job on a small network."""

from types import SimpleNamespace

import numpy as np
import pytest

import physics_sim
from evals.scoring.cases import choose_groups, make_case
from evals.tasks import generated, paths, section


@pytest.fixture(scope="module")
def case():
    return make_case(choose_groups(("collide",))[0], 0, 8, 0)


def given_at(*frames: int) -> np.ndarray:
    return np.isin(np.arange(16), frames)


def test_the_longest_run_of_given_frames() -> None:
    assert paths.run_of(given_at(0, 1, 2, 3)) == (0, 4)
    assert paths.run_of(given_at(8, 9, 10, 15)) == (8, 11)
    assert paths.run_of(given_at(0, 4, 8, 12)) == (0, 1)
    assert paths.run_of(given_at(13)) == (13, 14)


@pytest.mark.parametrize("frames", [(0, 1, 2), tuple(range(8, 16)), (0, 4, 8, 12), (9,)])
def test_true_frames_are_tracked_from_any_given_ones(case, frames) -> None:
    """Forwards and, with time reversed, backwards."""
    given = given_at(*frames)
    found = paths.scores(case, [paths.track(case, case.frames, given)], given)
    assert found["ade"] < 0.3 and found["ade_best"] == found["ade"] and "spread" not in found


def test_equal_samples_have_no_spread_and_their_error_is_all_skill(case) -> None:
    given = given_at(*range(8))
    off = case.truth.position + np.array([3.0, 0.0])
    found = paths.scores(case, [off] * 4, given)
    assert found["spread"] == pytest.approx(0) and found["skill"] == pytest.approx(3)
    assert found["ade"] == found["ade_mean"] == found["energy_score"] == pytest.approx(3)


def test_samples_of_the_truth_s_own_distribution_spread_as_far_as_they_are_off(case) -> None:
    given, rng = given_at(*range(8)), np.random.default_rng(0)
    shape = case.truth.position.shape
    ratios = []
    for _ in range(30):
        middle = case.truth.position + rng.normal(0, 2, shape)
        samples = [middle + rng.normal(0, 2, shape) for _ in range(8)]
        found = paths.scores(case, samples, given)
        ratios.append((found["spread"] ** 2, found["skill"] ** 2))
    spread, skill = np.mean(ratios, axis=0)
    assert np.sqrt(spread / skill) == pytest.approx(1, abs=0.1)
    assert found["energy_score"] < found["ade_mean"], "an honest spread is a better forecast than its mean alone"


def test_vanished_objects_cost_what_they_always_cost(case) -> None:
    given = given_at(*range(8))
    gone = np.full_like(case.truth.position, np.nan)
    assert paths.scores(case, [gone], given)["ade"] == 20


def clips(count: int, first: int = 0) -> np.ndarray:
    return np.stack([physics_sim.make_clip("collide", "val", first + i).frames for i in range(count)])


def test_the_simulator_s_clips_look_like_the_simulator_s() -> None:
    ours, first, second = (generated.look(clips(6, start)) for start in (0, 6, 12))
    found = generated.compare(ours, first, second)
    assert found["agent_there"] == found["patient_there"] == 1
    assert found["agent_speed_distance"] < 4 * found["agent_speed_distance_truth"] + 0.5


def test_empty_rooms_and_teleporting_balls_are_seen() -> None:
    truth = generated.look(clips(6))
    empty = generated.compare(generated.look(np.full((4, 16, 64, 64, 3), 230, np.uint8)), truth, truth)
    assert empty["agent_there"] == 0 and np.isnan(empty["agent_size_distance"])
    steady = np.stack([physics_sim.make_clip("uniform", "val", i, world=1).frames for i in range(4)])
    shuffled = steady[:, np.random.default_rng(0).permutation(16)]
    assert generated.look(steady).jerk[:, 0].max() < 0.2
    assert np.nanmin(generated.look(shuffled).jerk[:, 0]) > 1
    assert generated.distance(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == pytest.approx(2)


class Stub:
    """A labelled checkpoint that draws true clips of the scenario that `told` makes of the label."""

    name = "stub"

    def __init__(self, told) -> None:
        coder = SimpleNamespace(config=SimpleNamespace(downsample=8))
        vdt = SimpleNamespace(labels=("uniform", "collide", "drop"))
        self.told, self.pipeline = told, SimpleNamespace(autoencoder=coder, config=SimpleNamespace(vdt=vdt))
        self.pipeline.frames, self.pipeline.size = 16, (64, 64)
        self.pipeline.resolve = lambda sampling, task, diverse: sampling
        self.pipeline.fill = self.fill

    def fill(self, frames, mask, sampling, *, seeds):
        clips = [physics_sim.make_clip(self.told(sampling.label), "val", i).frames for i in range(len(frames))]
        return np.stack(clips)


def test_a_scenario_that_was_asked_for_is_told_from_others(context_of) -> None:
    context = context_of(clips=16, names=("collide", "uniform"))
    found = section._labelled(Stub(lambda label: label), context)
    assert found["as_asked"] >= 0.75 and found["as_asked_truth"] >= 0.75 and found["chance"] == 0.5
    wrong = section._labelled(Stub(lambda label: "collide"), context)
    assert wrong["as_asked"] == pytest.approx(0.5, abs=0.2)
    assert section.told.by_label({"labelled": found})["state"] == "good"
    assert section.told.by_label({"labelled": wrong})["state"] == "bad"
    assert section._labelled(Stub(lambda label: label), context_of(names=("uniform",))) == {}
    assert section.told.by_label({"labelled": {}}) is None


@pytest.mark.slow
def test_every_job_on_a_small_network(context_of, checkpoint) -> None:
    from evals.predictors.checkpoint import Checkpoint

    context = context_of((Checkpoint(str(checkpoint)),), clips=1, names=("collide", "uniform"))
    parts = {}
    for job in section.SECTION.jobs(context):
        parts[job] = section.SECTION.examine(job, context, lambda step: None)
    assert section.SECTION.examine("backward", context, lambda step: None) == parts["backward"]
    found = section.SECTION.gather(parts, context)
    tasks = found["models"]["tiny"]
    assert set(tasks) == set(section._JOBS) and tasks["predict"]["ade"]["count"] == 2
    body = {"model": "tiny", "predictors": [{"name": "tiny", "title": "tiny"}]}
    said = " ".join(line["text"] for line in section.SECTION.verdict(found, body))
    assert "From nothing it draws" in said and "Rolled out to 64" in said and "worst at" in said
    grids = section.SECTION.grids(found, body)
    assert [row[0] for row in grids[0].rows] == list(section.CONDITIONAL)
    assert len({len(row) for row in grids[1].rows}) == 1
