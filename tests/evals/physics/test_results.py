"""The results' schema: rows, differences, reading back, comparing."""

import json

import numpy as np
import pytest

from evals.physics import results
from evals.physics.compare import differences, paired_predictors, refuse_other_clips, show
from evals.physics.verdict import verdict
from evals.report.table import headline, number
from evals.scoring.cases import Group
from evals.scoring.score import METRICS
from vdt_mlx.errors import VDTError


def group(name, law=False, split="test"):
    return Group(name, name.split(":")[0], split, name, law)


def body_of(ades, model="net", clips=("a", "b", "c", "d"), contact=(1, 1, 0, 1)):
    """A small results object: two scenarios, a model and a baseline."""
    groups = [group("one"), group("two")]
    nothing = {metric: [float("nan")] * len(clips) for metric in METRICS}
    values = {
        name: {"8": {g.name: {**nothing, "ade": list(ade), "contact": list(contact)} for g in groups}}
        for name, ade in ades.items()
    }
    joined = results.unions(groups)
    kinds = {model: "model"}
    body = {
        "schema": results.SCHEMA,
        "version": results.VERSION,
        "settings": {"given": [8], "clips": len(clips)},
        "model": model,
        "suite": {
            "fingerprint": "x",
            "groups": [{**vars(g), "in_distribution": True} for g in groups],
            "clips": {g.name: [f"{g.name}-{c}" for c in clips] for g in groups},
        },
        "predictors": [
            {"name": n, "title": n, "kind": kinds.get(n, "baseline"), "about": "", "frames": False, "details": {}}
            for n in ades
        ],
        "metrics": [m.described() for m in METRICS.values()],
        "unions": joined,
        "bad": [],
        "values": results.plain(values),
    }
    return body | results.build_rows(values, joined, [g.name for g in groups], model)


def test_unions_are_of_what_is_there():
    groups = [group("collide"), group("drop"), group("uniform", True), group("uniform:ood", True, "ood")]
    found = {name: entry["groups"] for name, entry in results.unions(groups).items()}
    assert found["scenarios"] == ["collide", "drop"]
    assert found["in_distribution"] == ["collide", "drop", "uniform"]
    assert found["laws_out"] == ["uniform:ood"] and "scenarios_out" not in found


def test_rows_and_paired_differences():
    body = body_of({"net": [1, 2, 3, 4], "constant_velocity": [2, 3, 4, float("nan")]})
    rows = {(r["predictor"], r["scenario"], r["metric"]): r for r in body["rows"]}
    assert rows["net", "one", "ade"]["mean"] == 2.5 and rows["net", "scenarios", "ade"]["count"] == 8
    baseline = rows["constant_velocity", "one", "ade"]
    assert (baseline["mean"], baseline["count"], baseline["missing"]) == (3, 3, 1)
    (difference,) = [d for d in body["differences"] if d["scenario"] == "one" and d["metric"] == "ade"]
    assert difference["mean"] == difference["low"] == difference["high"] == -1 and difference["count"] == 3


def test_written_and_read_back(tmp_path):
    body = body_of({"net": [1, 2, 3, float("nan")]})
    results.write(body, tmp_path / "results.json")
    assert results.read(tmp_path) == json.loads((tmp_path / "results.json").read_text()) == body


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "nested"),
        ('{"version": 1e999}', "inf"),
        ('{"version": 1' + "0" * 5000 + "}", "not JSON|64 bits"),
        ("[]", "schema"),
        ('{"schema": "coco"}', "schema"),
        ('{"schema": "vdt-mlx-physics", "version": 99}', "version 99"),
        ('{"schema": "vdt-mlx-physics", "version": 1}', "lacks"),
    ],
)
def test_files_that_are_not_results(tmp_path, text, match):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(VDTError, match=match):
        results.read(path)
    with pytest.raises(VDTError, match="no results file"):
        results.read(tmp_path / "other.json")


def test_compare_pairs_clips_by_name():
    first = body_of({"net": [1, 2, 3, 4]})
    second = body_of({"net": [2, 3, 4]}, clips=("b", "c", "d"), contact=(1, 1, 1))
    found = {(e["scenario"], e["metric"]): e for e in differences(first, second)}
    entry = found["one", "ade"]
    assert (entry["first"], entry["second"], entry["difference"], entry["count"]) == (3, 3, 0, 3)
    assert not entry["significant"]


def test_compare_matches_two_models_of_other_names():
    found = differences(body_of({"net": [1, 2, 3, 4]}), body_of({"new": [2, 3, 4, 5]}, model="new"))
    entry = next(e for e in found if e["metric"] == "ade")
    assert entry["predictor"] == "net -> new" and entry["low"] == entry["high"] == 1 and entry["significant"]


def test_compare_of_nothing_in_common():
    other = body_of({"net": [1, 2, 3, 4]}, clips=("e", "f", "g", "h"))
    with pytest.raises(VDTError, match="no clip is in both"):
        differences(body_of({"net": [1, 2, 3, 4]}), other)


def test_the_verdict_says_who_is_ahead_and_whether_that_is_significant():
    ahead = verdict(body_of({"net": [1, 1, 1, 1.1], "copy_last": [4, 4, 4, 4], "constant_velocity": [2, 2, 2, 2]}))
    assert ahead[0]["state"] == "good" and "significantly closer than constant_velocity" in ahead[0]["text"]
    behind = verdict(body_of({"net": [5, 5, 5, 5], "copy_last": [4, 4, 4, 4], "constant_velocity": [2, 2, 2, 2]}))
    assert behind[0]["state"] == "bad"
    level = verdict(body_of({"net": [1, 4, 1, 4], "constant_velocity": [4, 1, 4, 1]}))
    assert level[0]["state"] == "plain" and "is not significant" in level[0]["text"]
    assert any("75.0 %" in line["text"] and line["state"] == "good" for line in ahead)


def test_numbers_as_printed():
    assert number(12.34) == "12.3" and number(0.5) == "0.50" and number(0.0123) == "0.012"
    assert number(0.5, "contact") == "50.0 %" and number(None) == "–"
    assert np.isfinite(float(number(0.0)))


def test_compare_pairs_predictors_that_are_named():
    first, second = body_of({"net": [1, 2, 3, 4]}), body_of({"new": [2, 3, 4, 5]}, model="new")
    found = differences(first, second, paired_predictors(first, second, ("net", "new")))
    assert {e["predictor"] for e in found} == {"net -> new"}
    with pytest.raises(VDTError, match="second results have no predictor 'net'"):
        paired_predictors(first, second, ("net", None))


def test_compare_says_what_two_results_lack():
    first = body_of({"net": [1, 2, 3, 4]})
    other = body_of({"a": [1] * 4, "b": [1] * 4}, model="a")
    other["predictors"][1]["kind"] = "model"
    with pytest.raises(VDTError, match=r"no predictor of one name .*--first A --second B"):
        differences(first, other)
    with pytest.raises(VDTError, match="no clip is in both"):
        differences(first, body_of({"net": [1, 2]}, clips=("x", "y"), contact=(1, 1)))
    apart = body_of({"net": [1, 2, 3, 4]})
    apart["values"]["net"] = {"4": apart["values"]["net"]["8"]}
    with pytest.raises(VDTError, match=r"context frames differ \(8 \| 4\)"):
        differences(first, apart)


@pytest.mark.parametrize(("key", "value"), [("world", 2), ("suite_seed", 1), ("size", 128), ("suite", "mine")])
def test_clips_of_one_name_that_are_others_are_not_compared(key, value):
    """Results without these settings are of the first world, seed 0 and 64 pixels."""
    first, second = body_of({"net": [1, 2, 3, 4]}), body_of({"net": [1, 2, 3, 4]})
    second["settings"][key] = value
    with pytest.raises(VDTError, match="different clips"):
        refuse_other_clips(first, second)
    first["settings"][key] = value
    refuse_other_clips(first, second)


@pytest.mark.parametrize("damage", ["values", "suite", "rows", "predictors", "unions"])
@pytest.mark.parametrize("value", [3, "x", [], {}, [[]], {"a": 1}, None])
def test_results_of_absurd_types_end_in_a_sentence(tmp_path, damage, value, capsys):
    body = body_of({"net": [1, 2, 3, 4]})
    results.write(body, tmp_path / "a.json")
    results.write({**body, damage: value}, tmp_path / "b.json")
    for pair in (("a.json", "b.json"), ("b.json", "a.json")):
        try:
            show(*(tmp_path / name for name in pair), ["ade"], None, False)
        except VDTError as error:
            assert "\n" not in str(error)


def test_several_context_frames_are_headlined_at_eight():
    assert [headline(given) for given in ((2, 4, 8), (2, 8, 12), (2, 4), (12,))] == [8, 8, 4, 12]
