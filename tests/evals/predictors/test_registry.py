"""One row a predictor: what a row says is what the results, the tables and the figures show."""

from dataclasses import replace

import numpy as np
import pytest

from evals.predictors import registry
from evals.predictors.baselines import copy_last
from evals.scoring.cases import choose_groups, make_case


@pytest.fixture(scope="module")
def case():
    (group,) = choose_groups(["collide"])
    return make_case(group, 0, 8, 0)


def test_every_row_does_one_thing_and_has_a_known_kind():
    for row in registry.ROWS.values():
        assert row.kind in registry.KINDS and row.kind != "model"
        assert sum(work is not None for work in (row.states, row.answers, row.frames)) == 1


def test_rows_of_states_predict_states(case):
    remembered = registry.Memories(2)
    for row in registry.ROWS.values():
        if row.states is not None:
            path = row.states(case, remembered).position
            assert path.shape == case.truth.position.shape, row.name
        if row.answers is not None:
            assert 0 <= row.answers(case, remembered) <= 1


def test_a_new_row_is_everywhere(monkeypatch, tmp_path):
    from evals.physics.examiner import Examiner, Settings
    from evals.physics.verdict import verdict
    from evals.predictors import Code
    from evals.report.figures import drawn
    from evals.report.page import render

    row = replace(
        registry.ROWS["copy_last"],
        name="twin",
        title="copy, once more",
        told="a test's own",
        states=lambda case, remembered: copy_last(case),
    )
    monkeypatch.setitem(registry.ROWS, "twin", row)
    settings = Settings(scenarios=("collide",), clips=2, models=(), library=2)
    still = Code(lambda given: np.repeat(given[-1:], 16 - len(given), 0), "still")
    body = Examiner(settings, [still]).run(tmp_path, resume=False)
    assert body is not None
    body["verdict"] = verdict(body)
    means = {(r["predictor"], r["metric"]): r["mean"] for r in body["rows"]}
    assert means["twin", "ade"] == means["copy_last", "ade"]
    assert "twin" in {series.name for series in drawn(body)}
    assert render(body, {}, ["a"]).count("copy, once more") >= 3


def test_the_memory_is_made_once_a_scenario(case, monkeypatch):
    calls = []
    monkeypatch.setattr(registry.baselines, "remember", lambda *arguments: calls.append(arguments))
    remembered = registry.Memories(3)
    remembered(case)
    remembered(case)
    assert calls == [(case, 3)]
