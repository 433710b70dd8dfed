"""Submissions: what is whole is published, and each thing that is missing is a sentence."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evals.leaderboard import cli
from evals.leaderboard.cli import leaderboard
from evals.leaderboard.page import render
from evals.leaderboard.rules import FIELDS, RULES, Rules
from evals.leaderboard.submission import read
from evals.physics.examiner import Examiner, Settings
from evals.predictors import Code
from vdt_mlx.errors import VDTError

SMALL = Rules(scenarios=("uniform",), clips=2)
CARD = dict.fromkeys(FIELDS, "A model | of *ours*") | {"parameters": 1_200_000, "link": "https://example.org/m"}


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """A results object of two clips."""
    settings = Settings(scenarios=("uniform",), clips=2, models=(), library=1)
    still = Code(lambda given: np.repeat(given[-1:], 16 - len(given), 0), "mine")
    found = Examiner(settings, [still]).run(tmp_path_factory.mktemp("run") / "out", resume=False)
    assert found is not None
    return json.loads(json.dumps(found | {"verdict": []}))


def with_seed(body, seed):
    """The same results as another seed could have given them: FDE a little larger, rows and values alike."""
    other = copy.deepcopy(body)
    (details,) = [p["details"] for p in other["predictors"] if p["name"] == "mine"]
    details |= {"seed": seed, "sha256": "ab"}
    for table in other["values"]["mine"]["8"].values():
        table["fde"] = [None if value is None else value + 0.01 * seed for value in table["fde"]]
    for row in other["rows"]:
        if row["predictor"] == "mine" and row["metric"] == "fde":
            row["mean"] += 0.01 * seed
    return other


def write(folder: Path, body, seeds=(0, 1, 2, 3), card=CARD, change=None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = folder / f"seed-{seed}" / "results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        one = with_seed(body, seed)
        if change is not None:
            change(one, seed)
        path.write_text(json.dumps(one))
    if card is not None:
        (folder / "card.json").write_text(json.dumps(card))
    return folder


def faults(folder, fingerprint):
    return "\n".join(read(folder, SMALL, fingerprint).faults)


def test_a_whole_submission_has_no_faults_and_a_row(tmp_path, body):
    official = body["suite"]["fingerprint"]
    assert SMALL.fingerprint() == official  # the check simulates the same clips as the examiner
    one = read(write(tmp_path, body), SMALL, official)
    assert one.faults == [] and sorted(one.seeds.values()) == [0, 1, 2, 3]
    page = render([one], SMALL, official)
    (row,) = [line for line in page.splitlines() if line.startswith("| [A model")]
    assert "A model \\| of \\*ours\\*" in row and "1,200,000" in row and row.endswith("| 4 |")
    assert "*constant velocity*" in page and official in page


def test_order_is_by_the_first_column(tmp_path, body):
    official = body["suite"]["fingerprint"]
    worse = write(tmp_path / "b", body, card=CARD | {"name": "worse"}, change=lambda one, seed: add(one, "ade", 5.0))
    better = write(tmp_path / "a", body, card=CARD | {"name": "better"})
    page = render([read(folder, SMALL, official) for folder in (worse, better)], SMALL, official)
    assert page.index("[better]") < page.index("[worse]")


def add(one, metric, amount):
    for table in one["values"]["mine"]["8"].values():
        table[metric] = [None if value is None else value + amount for value in table[metric]]
    for row in one["rows"]:
        if row["predictor"] == "mine" and row["metric"] == metric:
            row["mean"] += amount


CHANGES = {
    "world": (lambda one, seed: one["settings"].update(world=1), "world 1, and 2 is asked for"),
    "size": (lambda one, seed: one["settings"].update(size=32), "size 32, and 64"),
    "given": (lambda one, seed: one["settings"].update(given=[4]), "no 8 context frames"),
    "clips": (lambda one, seed: one["suite"]["clips"]["uniform"].pop(), "not 2 clips of uniform"),
    "fingerprint": (lambda one, seed: one["suite"].update(fingerprint="0"), "its clips are others"),
    "model": (lambda one, seed: one.update(model=None), "no model"),
    "bad": (
        lambda one, seed: one["bad"].append({"clip": "uniform-test-0000", "predictor": "mine", "reason": ""}),
        "1 clips of mine could not be scored",
    ),
    "rows": (lambda one, seed: one["rows"][0].update(mean=0.5), "does not follow from its values"),
    "trained": (
        lambda one, seed: one["predictors"][0]["details"].update(training={"splits": ["test"], "seed": 0}),
        "trained on the split test",
    ),
    "steps": (lambda one, seed: one["settings"].update(steps=seed + 1), "differ in their steps"),
    "weights": (lambda one, seed: one["predictors"][0]["details"].update(sha256=str(seed)), "differ in their weights"),
    "seed": (lambda one, seed: one["predictors"][0]["details"].pop("seed"), "does not say its seed"),
    "damage": (lambda one, seed: one["suite"].pop("clips"), "is damaged"),
    "row": (lambda one, seed: one["rows"][-1].pop("given"), "is damaged"),
    "mean": (lambda one, seed: one["rows"][-1].update(mean="x"), "is damaged"),
    "values": (lambda one, seed: one["values"].pop("mine"), "is damaged"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_wrong_with_results_is_said(kind, tmp_path, body):
    change, said = CHANGES[kind]
    assert body["predictors"][0]["name"] == "mine" and body["rows"][0]["predictor"] == "mine"
    assert said in faults(write(tmp_path, body, change=change), body["suite"]["fingerprint"])


def test_four_seeds_are_needed_and_they_are_not_one_run(tmp_path, body):
    official = body["suite"]["fingerprint"]
    assert "4 seeds are needed, one file each; there are 2 (0, 1)" in faults(
        write(tmp_path / "two", body, (0, 1)), official
    )
    folder = write(tmp_path / "twice", body)
    text = (folder / "seed-0" / "results.json").read_text()
    (folder / "seed-3" / "results.json").write_text(text.replace('"seed": 0', '"seed": 3'))
    assert "one run, twice" in faults(folder, official)
    (folder / "seed-3" / "results.json").write_text(text)
    assert "same seed" in faults(folder, official)


def test_seeds_of_clips_made_elsewhere_are_the_cards(tmp_path, body):
    listed = {f"seed-{seed}/results.json": seed for seed in range(4)}
    change, _ = CHANGES["seed"]
    folder = write(tmp_path, body, card=CARD | {"seeds": listed}, change=change)
    assert faults(folder, body["suite"]["fingerprint"]) == ""


@pytest.mark.parametrize("key", FIELDS)
def test_each_entry_of_the_card_is_asked_for(key, tmp_path, body):
    official = body["suite"]["fingerprint"]
    for number, value in enumerate((None, "", FIELDS[key], -1)):
        card = {k: v for k, v in CARD.items() if k != key} | ({} if value is None else {key: value})
        said = faults(write(tmp_path / str(number), body, (), card), official)
        assert f"lacks {key!r}: {FIELDS[key]}" in said


def run(monkeypatch, *arguments):
    monkeypatch.setattr(cli, "RULES", SMALL)
    result = CliRunner().invoke(leaderboard, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_commands(monkeypatch, tmp_path, body):
    folder = write(tmp_path / "mine", body, card=None)
    with pytest.raises(VDTError, match=r"evals\.leaderboard card"):
        run(monkeypatch, "check", folder)
    assert "fill it in" in run(monkeypatch, "card", folder)
    with pytest.raises(VDTError, match="there already"):
        run(monkeypatch, "card", folder)
    with pytest.raises(VDTError, match="lacks 'authors'"):
        run(monkeypatch, "check", folder)
    (folder / "card.json").write_text(json.dumps(CARD))
    assert "nothing is missing" in run(monkeypatch, "check", folder)
    page = tmp_path / "page.md"
    assert "1 submissions" in run(monkeypatch, "build", folder, "--out", page)
    assert "[A model" in page.read_text()
    with pytest.raises(VDTError, match="no submission folder"):
        run(monkeypatch, "build", tmp_path / "none", "--out", page)
    with pytest.raises(VDTError, match="Two submissions are called"):
        run(monkeypatch, "build", folder, folder, "--out", page)
    (folder / "card.json").write_text("[1")
    with pytest.raises(VDTError, match="1 things to mend"):
        run(monkeypatch, "check", folder)
    assert "No submission" not in page.read_text()


def test_the_page_of_the_repository_is_what_the_command_writes():
    page = (Path(__file__).parents[3] / "docs" / "leaderboard.md").read_text()
    if "No submission has been made yet" in page:
        (fingerprint,) = re.findall(r"`([0-9a-f]{16})`", page)
        assert page == render([], RULES, fingerprint)
    assert page.startswith("<!-- written by")
