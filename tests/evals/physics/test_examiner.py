"""The examiner end to end on a few clips: the same numbers again, resumed, and over two processes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evals.physics import results, units
from evals.physics.examiner import Examiner, Settings
from evals.predictors import Code, Truthful
from evals.predictors.checkpoint import overlap
from vdt_mlx.errors import VDTError

ROOT = Path(__file__).parents[3]
SMALL = Settings(scenarios=("collide", "uniform"), clips=2, models=(), library=4)


def numbers(body):
    return {key: body[key] for key in ("rows", "differences", "curves", "values", "bad", "suite")}


def still(given):
    return np.repeat(given[-1:], 16 - len(given), 0)


def test_the_same_twice_and_every_predictor_in_the_rows(tmp_path):
    def sources():
        return [Truthful(), Code(still, "still")]

    first = Examiner(SMALL, sources()).run(tmp_path / "a", resume=False)
    second = Examiner(SMALL, sources()).run(tmp_path / "b", resume=False)
    assert first is not None and second is not None
    assert numbers(first) == numbers(second)
    named = {row["predictor"] for row in first["rows"]}
    assert named == {p["name"] for p in first["predictors"]} and "simulator" in named
    rows = {(r["predictor"], r["scenario"], r["metric"]): r["mean"] for r in first["rows"]}
    assert rows["tracker", "in_distribution", "ade"] < 0.05 < rows["still", "in_distribution", "ade"]
    assert rows["tracker", "collide", "contact"] == 1
    assert rows["still", "collide", "ade"] == pytest.approx(rows["copy_last", "collide", "ade"], abs=0.02)


def test_resume_recomputes_nothing_that_is_done(tmp_path, monkeypatch):
    examiner = Examiner(SMALL, [Code(still, "still")])
    whole = examiner.run(tmp_path / "whole", resume=False)
    done = []

    def interrupt(self, job, tell=None):
        if done:
            raise KeyboardInterrupt
        done.append(job)
        return original(self, job)

    original = Examiner.examine
    monkeypatch.setattr(Examiner, "examine", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Examiner(SMALL, [Code(still, "still")]).run(tmp_path / "part", resume=False)
    redone = []
    monkeypatch.setattr(Examiner, "examine", lambda self, job, tell=None: (redone.append(job), original(self, job))[1])
    resumed = Examiner(SMALL, [Code(still, "still")]).run(tmp_path / "part", resume=True)
    assert numbers(resumed) == numbers(whole)
    assert [job.name for job in redone] == [job.name for job in examiner.jobs[1:]]


@pytest.mark.parametrize("damage", [b"", b"PK cut", None])
def test_a_damaged_part_is_made_again(tmp_path, damage):
    first = Examiner(SMALL, [Code(still, "still")]).run(tmp_path, resume=False)
    path = next((tmp_path / "work").glob("collide-*.npz"))
    if damage is None:
        np.savez(path, record=np.frombuffer(b'{"clips": ["x"], "fingerprint": ""}', np.uint8))
    else:
        path.write_bytes(damage)
    assert numbers(Examiner(SMALL, [Code(still, "still")]).run(tmp_path, resume=True)) == numbers(first)


def test_predictions_that_changed_are_not_mixed_with_older_ones(tmp_path):
    made, settings = tmp_path / "made", replace(SMALL, predictions=(str(tmp_path / "made"),), scenarios=("uniform",))
    made.mkdir()
    frames = np.zeros((16, 64, 64, 3), np.uint8)
    np.savez(made / "uniform-test-0000.npz", frames=frames)
    Examiner(settings).run(tmp_path / "out", resume=False)
    Examiner(settings).run(tmp_path / "out", resume=True)
    np.savez(made / "uniform-test-0000.npz", frames=frames + 1)
    with pytest.raises(VDTError, match="predictors: made"):
        Examiner(settings).run(tmp_path / "out", resume=True)


def test_another_autoencoder_is_another_run(tmp_path, checkpoint):
    import mlx.core as mx

    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    settings = replace(SMALL, models=(str(folder),), scenarios=("uniform",), clips=1, steps=1)
    Examiner(settings).run(tmp_path / "out", resume=False)
    path = folder / "autoencoder.safetensors"
    weights = {name: value * 1.01 for name, value in mx.load(str(path)).items()}
    mx.eval(weights)
    mx.save_safetensors(str(path), weights)
    with pytest.raises(VDTError, match="predictors: model"):
        Examiner(settings).run(tmp_path / "out", resume=True)


def test_another_device_is_another_run(tmp_path, monkeypatch):
    settings = replace(SMALL, scenarios=("uniform",), clips=1)
    Examiner(settings, []).run(tmp_path, resume=False)
    monkeypatch.setattr(units, "describe", lambda: {"device": "gpu", "tf32": True, "chip": "x"})
    with pytest.raises(VDTError, match="the device that it is computed on"):
        Examiner(settings, []).run(tmp_path, resume=True)


@pytest.mark.parametrize("there", [True, False])
def test_an_interruption_takes_nothing_with_it_that_was_there(tmp_path, monkeypatch, there):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    out = tmp_path / "mine" / "out"
    if there:
        out.mkdir(parents=True)
    monkeypatch.setattr(Examiner, "examine", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Examiner(SMALL, [Code(still, "still")]).run(out, resume=False)
    assert out.exists() == there and not (there and list(out.iterdir()))
    assert (tmp_path / "mine").exists() == there


def test_a_folder_with_another_run_is_left_alone(tmp_path):
    Examiner(SMALL, [Code(still, "still")]).run(tmp_path, resume=False)
    with pytest.raises(VDTError, match="already holds a run"):
        Examiner(SMALL, [Code(still, "still")]).run(tmp_path, resume=False)
    with pytest.raises(VDTError, match="library"):
        Examiner(replace(SMALL, library=5), [Code(still, "still")]).run(tmp_path, resume=True)


def test_a_bad_clip_is_counted_and_named(tmp_path):
    calls = []

    def sometimes(given):
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("no idea")
        return still(given)

    body = Examiner(replace(SMALL, scenarios=("collide",)), [Code(sometimes, "shaky")]).run(tmp_path, resume=False)
    assert [(b["clip"], b["predictor"]) for b in body["bad"]] == [("collide-test-0001", "shaky")]
    assert "no idea" in body["bad"][0]["reason"]
    row = next(r for r in body["rows"] if r["predictor"] == "shaky" and r["metric"] == "ade")
    assert (row["count"], row["missing"]) == (1, 1)


def test_several_given_and_samples(tmp_path):
    settings = replace(SMALL, scenarios=("uniform",), given=(2, 8))
    body = Examiner(settings, [Code(still, "still")]).run(tmp_path, resume=False)
    rows = {(r["given"], r["metric"]): r["mean"] for r in body["rows"] if r["predictor"] == "still"}
    assert rows[2, "ade"] > rows[8, "ade"]
    assert {len(curve["frames"]) for curve in body["curves"]} == {14, 8}


def test_a_checkpoint_several_samples_and_its_autoencoder(tmp_path, checkpoint):
    settings = replace(SMALL, scenarios=("collide",), models=(str(checkpoint),), samples=2, steps=1)
    body = Examiner(settings).run(tmp_path, resume=False)
    rows = {(r["predictor"], r["metric"]): r["mean"] for r in body["rows"]}
    assert {"tiny", "autoencoder", "tracker"} <= {p["name"] for p in body["predictors"]}
    assert rows["tiny", "ade_best"] <= rows["tiny", "ade"] and ("tiny", "energy_score") in rows
    assert body["model"] == "tiny"
    (details,) = [p["details"] for p in body["predictors"] if p["name"] == "tiny"]
    assert len(details["sha256"]) == 64 and details["steps"] == 1


def test_what_was_trained_on_is_refused(checkpoint):
    settings = replace(SMALL, scenarios=("collide:train",), models=(str(checkpoint),))
    with pytest.raises(VDTError, match="was trained on the split train"):
        Examiner(settings)
    assert Examiner(settings, allow_trained=True).model == "tiny"
    assert overlap({"splits": ["train"], "seed": 1}, {"train"}, 0) is None
    assert overlap(None, {"train"}, 0) is None
    by_purpose = {"splits": {"train": "train", "preview": "val"}}
    assert overlap(by_purpose, {"val", "test"}, 0) is None
    assert "split train" in (overlap(by_purpose, {"train"}, 0) or "")


def test_weights_of_nan_end_in_one_sentence(tmp_path, checkpoint):
    import mlx.core as mx

    folder = tmp_path / "sick"
    shutil.copytree(checkpoint, folder)
    weights = mx.load(str(folder / "vdt.safetensors"))
    weights = {name: mx.full(value.shape, float("nan")) for name, value in weights.items()}
    mx.save_safetensors(str(folder / "vdt.safetensors"), weights)
    with pytest.raises(VDTError, match="NaN"):
        Examiner(replace(SMALL, models=(str(folder),))).run(tmp_path / "out", resume=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tmp_path, checkpoint):
    launch = shutil.which("mlx.launch") or str(Path(sys.executable).with_name("mlx.launch"))
    if not Path(launch).exists():
        pytest.skip("mlx.launch is not installed beside this Python")
    options = ["--model", str(checkpoint), "--scenario", "collide,uniform", "--clips", "2", "--library", "2"]
    options += ["--sections", "none"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}

    def run(command):
        subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True, timeout=300)

    run([sys.executable, "-m", "evals.physics", *options, "--out", str(tmp_path / "one")])
    script = str(ROOT / "evals" / "physics" / "__main__.py")
    two = [launch, "-n", "2", "--python", sys.executable, script, *options, "--out", str(tmp_path / "two")]
    run(two)
    assert numbers(results.read(tmp_path / "one")) == numbers(results.read(tmp_path / "two"))
    assert json.loads((tmp_path / "two" / "results.json").read_text())["suite"]["fingerprint"]
