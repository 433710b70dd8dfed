"""Results: accuracies, their differences and the sentence, from answers made by hand."""

import numpy as np
import pytest

from evals.physion import results
from evals.physion.labels import Label
from vdt_mlx.errors import VDTError

CONTACT = [True, False] * 10


def built(generated: float, people: float | None = 0.7) -> dict:
    """20 clips, two seeds: nothing known of given frames, all of true ones, and a share of generated ones."""
    truth = np.array(CONTACT)
    right = np.arange(20) < round(20 * generated)
    answers = {
        "given": np.full((2, 20), 0.5),  # the fixed threshold is not passed: "no contact"
        "generated": np.stack([np.where(right, truth, ~truth)] * 2).astype(float),
        "observed": np.stack([truth, truth]).astype(float),
    }
    answers["observed"][1, 0] = 0.0
    labels = {f"c{i}": Label(contact, people) for i, contact in enumerate(CONTACT)}
    body = {**results.build({"collide": answers}, {"collide": labels}), "settings": {"model": "m", "seeds": [0, 1]}}
    return {**body, "verdict": results.verdict(body)}


def test_accuracies_are_means_over_seeds_and_every_seed_is_told() -> None:
    body = built(0.75)
    for scenario in ("collide", "all"):
        assert results.row(body, scenario, "given")["accuracy"] == 0.5
        assert results.row(body, scenario, "generated")["accuracy"] == 0.75
        observed = results.row(body, scenario, "observed")
        assert observed["by_seed"] == [1.0, 0.95]
        assert observed["accuracy"] == 0.975
        assert observed["low"] <= 0.975 <= observed["high"]
    change = results.difference(body, "all", "generated", "given")
    assert change["difference"] == 0.25
    assert body["answers"]["collide"]["c0"] == {
        "contact": True,
        "given": [0.5, 0.5],
        "generated": [1.0, 1.0],
        "observed": [1.0, 0.0],
    }


@pytest.mark.parametrize(("generated", "state"), [(1.0, "good"), (0.5, "plain"), (0.0, "bad")])
def test_the_verdict_says_whether_generated_frames_help(generated, state) -> None:
    verdict = built(generated)["verdict"]
    assert verdict["state"] == state
    assert f"right in {100 * generated:.1f} % of 20 clips of collide" in verdict["text"]
    assert "people are in 70.0 %" in verdict["text"]


def test_people_are_the_published_ones_where_the_label_file_has_none() -> None:
    entry = results.scenario_of_row(built(0.5, None), "collide")
    assert entry["people"]["accuracy"] == 0.8102
    assert "physics-benchmarking-neurips2021" in entry["people"]["source"]
    assert results.scenario_of_row(built(0.5), "collide")["people"]["source"].startswith("column `correct`")


def test_only_results_of_ours_are_read(tmp_path) -> None:
    body = {"schema": results.SCHEMA, "version": results.VERSION, **built(0.5)}
    results.write(body, tmp_path / "results.json")
    assert results.read(tmp_path)["rows"] == body["rows"]
    for change, sentence in (
        ({"schema": "x"}, "not a results file"),
        ({"version": 9}, "version 9"),
        ({"rows": []}, "lacks rows"),
    ):
        results.write(body | change, tmp_path / "other.json")
        with pytest.raises(VDTError, match=sentence):
            results.read(tmp_path / "other.json")
