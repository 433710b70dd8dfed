"""The readout: it finds what is there, nothing where nothing is, and turning its coordinates changes nothing."""

import sys

import numpy as np
import pytest

from evals.physion import readout
from vdt_mlx.errors import VDTError


@pytest.fixture(autouse=True)
def few_fits(monkeypatch) -> None:
    monkeypatch.setattr(readout, "STRENGTHS", np.array([1e-3, 1.0]))
    monkeypatch.setattr(readout, "INNER", 2)
    monkeypatch.setattr(readout, "OUTER", 3)


def clips(count: int, size: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    contact = np.arange(count) % 2 == 0
    features = np.random.default_rng(seed).standard_normal((count, size))
    features[:, 0] += shift * contact
    return features, contact


def test_it_finds_what_is_there() -> None:
    features, contact = clips(40, 6, 8.0)
    found = readout.answers(features, contact, seed=0)
    assert ((found > readout.THRESHOLD) == contact).all()


def test_nothing_is_answered_by_a_readout_that_saw_the_answer() -> None:
    """Features that only number the clips: what was fitted on one says nothing of another."""
    contact = np.arange(40) % 2 == 0
    found = readout.answers(np.eye(40), contact, seed=0)
    assert np.abs(found - 0.5).max() < 0.1


def test_turning_changes_nothing(monkeypatch) -> None:
    features, contact = clips(24, 60, 2.0)
    turned = readout.fitted_answers(features[:16], contact[:16], features[16:], seed=1)
    monkeypatch.setattr(readout, "_rotated", lambda fit, ask: (fit, ask))
    assert readout.fitted_answers(features[:16], contact[:16], features[16:], seed=1) == pytest.approx(turned, abs=3e-3)


def test_constants_say_nothing() -> None:
    features, contact = clips(20, 3, 5.0)
    more = np.concatenate([features, np.full((20, 2), 7.0)], axis=1)
    same = readout.fitted_answers(features, contact, features, seed=0)
    assert readout.fitted_answers(more, contact, more, seed=0) == pytest.approx(same, abs=1e-6)


def test_clips_are_balanced_before_fitting() -> None:
    contact = np.arange(30) < 8
    kept = readout.balanced(contact, seed=3)
    assert contact[kept].sum() == 8 and len(kept) == 16 and len(set(kept)) == 16
    assert readout.enough(contact) and not readout.enough(np.arange(30) < 4)


def test_without_scikit_learn_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(VDTError, match=r"pip install 'vdt-mlx\[physion\]'"):
        readout.check_installed()
