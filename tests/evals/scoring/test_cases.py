"""The suite, and the tracker against the simulator's own truth."""

from dataclasses import replace

import numpy as np
import pytest

import physics_sim
from evals.scoring import cases, metrics
from vdt_mlx.errors import VDTError


def test_the_suite_has_every_scenario_and_every_law_in_and_out():
    groups = {group.name: group for group in cases.known_groups()}
    for name in physics_sim.SCENARIOS:
        assert groups[name].split == "test" and groups[name].in_distribution
    for name in physics_sim.LAWS:
        assert groups[name].law and not groups[f"{name}:ood"].in_distribution


@pytest.mark.parametrize("name", [*physics_sim.SCENARIOS, *physics_sim.LAWS])
def test_the_tracker_on_true_frames(name):
    (group,) = cases.choose_groups([name])
    errors, swaps = [], 0
    for index in (0, 1, 3):
        case = cases.make_case(group, index, 8, 0)
        truth = case.truth
        error = metrics.displacement(truth.position, truth.tracked.position, truth.visible)
        errors.append(error[np.isfinite(error)])
        swaps += metrics.identity_swaps(truth.position, truth.tracked.position, truth.visible)
        assert truth.visible[:, truth.agent].any()
    assert np.concatenate(errors).mean() <= (0.15 if name == "link" else 0.07)
    assert swaps == 0


def test_the_mean_over_everything_is_below_a_twentieth_of_a_pixel():
    errors = []
    for group in cases.known_groups():
        truth = cases.make_case(group, 2, 8, 0).truth
        errors.append(metrics.ade(metrics.displacement(truth.position, truth.tracked.position, truth.visible)))
    assert np.mean(errors) <= 0.05


def test_contact_labels_are_balanced_and_after_the_given_frames():
    for name in physics_sim.SCENARIOS:
        (group,) = cases.choose_groups([name])
        touches = [cases.make_case(group, i, 8, 0).clip for i in range(4)]
        assert sum(clip.contact for clip in touches) == 2
        assert all(not clip.contact or clip.contact_time > 7 for clip in touches)


def test_more_given_frames_take_the_question_away_where_it_is_answered():
    (group,) = cases.choose_groups(["collide"])
    touching = next(c for i in range(2) if (c := cases.make_case(group, i, 8, 0)).clip.contact)
    after = int(np.ceil(touching.clip.contact_time)) + 2
    assert touching.truth.contact is True
    if after < 16:
        later = replace(touching, given=after).truth
        assert later.contact is None and np.isnan(later.contact_time)


def test_the_laws_are_not_asked_the_question():
    (group,) = cases.choose_groups(["collision"])
    truth = cases.make_case(group, 0, 8, 0).truth
    assert truth.contact is None and truth.conserves_momentum and truth.conserves_energy and truth.after_contact_only


def test_the_truth_of_a_hidden_object_is_what_can_be_seen():
    for index in range(30):
        (group,) = cases.choose_groups(["collision:ood"])
        case = cases.make_case(group, index, 8, 0)
        truth = case.truth
        part = truth.visible & ~truth.whole
        if part.any():
            t, n = np.argwhere(part)[0]
            exact = case.clip.pixels()[t, case.asked[n]]
            assert np.hypot(*(truth.position[t, n] - exact)) > 0.02
            return
    pytest.fail("no clip of these has an object that is partly hidden")


def test_out_of_distribution_goes_through_its_splits_in_turn():
    (group,) = cases.choose_groups(["uniform:ood"])
    names = [cases.make_case(group, i, 8, 0).id for i in range(4)]
    assert names == [
        "uniform-ood_size-0000",
        "uniform-ood_speed-0000",
        "uniform-ood_both-0000",
        "uniform-ood_size-0001",
    ]


@pytest.mark.parametrize(("name", "word"), [("colide", "scenario"), ("collide:tset", "split")])
def test_unknown_names(name, word):
    with pytest.raises(VDTError, match=f"Unknown {word}"):
        cases.choose_groups([name])
