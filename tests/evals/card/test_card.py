"""A card's rows from numbers that are known, and the whole command after a small examination."""

import json
import shutil

import pytest
from click.testing import CliRunner

from evals.card import cli
from evals.card.measures import measures
from vdt_mlx.errors import VDTError


def row(predictor: str, scenario: str, metric: str, mean: float) -> dict:
    key = {"predictor": predictor, "given": 8, "scenario": scenario, "metric": metric}
    return {**key, "mean": mean, "low": mean - 0.1, "high": mean + 0.1, "count": 9, "missing": 0}


def body(ade: float, slope: float, imagined: float, there: float, behind: float) -> dict:
    response = {"slope": slope, "low": slope - 0.1, "high": slope + 0.1, "intercept": 0.0, "count": 9, "missing": 0}
    meeting = {"title": "time of the collision", "responses": {"m": response}}
    meeting["imagined"] = {"m": {"share": imagined, "count": 12}}
    difference = {"predictor": "m", "reference": "constant_velocity", "given": 8, "scenario": "drop", "metric": "ade"}
    free = {
        f"{role}_there{end}": value for role in ("agent", "patient") for end, value in (("", there), ("_truth", 1.0))
    }
    return {
        "model": "m",
        "settings": {"given": [8]},
        "suite": {"groups": [{"name": "drop", "law": False, "in_distribution": True}]},
        "rows": [row("m", "in_distribution", "ade", ade), row("copy_last", "in_distribution", "ade", 4.0)],
        "differences": [{**difference, "mean": behind, "low": behind - 0.1, "high": behind + 0.1, "count": 9}],
        "probes": {"families": {"meeting": meeting}},
        "tasks": {"models": {"m": {"unconditional": free}}},
    }


def test_every_goal_is_met_by_a_good_model_and_none_by_a_bad_one() -> None:
    good, bad = measures(body(0.4, 0.95, 0.0, 1.0, -1.0)), measures(body(2.0, 0.1, 0.5, 0.2, 1.0))
    assert [row.what for row in good] == [row.what for row in bad] and len(good) == 6
    assert all(row.met for row in good) and not any(row.met for row in bad)
    found = {row.what: row.found for row in good}
    assert found["ADE in distribution, of that of copying the last frame"] == "0.10 (0.40 px, 0.30 to 0.50)"
    assert found["collisions where none is due"] == "0 % of 12 clips"


def test_a_section_is_replaced_and_the_rest_stays() -> None:
    old = "# A card\n\nData.\n\n## Limits\n\nSome.\n"
    first = cli.replaced(old, f"{cli.BEGIN}\none\n{cli.END}")
    assert first.index("Data.") < first.index("one") < first.index("## Limits")
    second = cli.replaced(first, f"{cli.BEGIN}\ntwo\n{cli.END}")
    assert second == first.replace("one", "two")
    assert cli.replaced("# A card\n", f"{cli.BEGIN}{cli.END}").startswith("# A card\n\n<!--")


@pytest.mark.slow
def test_the_card_of_an_examined_checkpoint(checkpoint, tmp_path) -> None:
    from evals.physics.run import run
    from evals.physics.settings import Settings

    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    settings = Settings(scenarios=("collide", "uniform"), clips=2, models=(str(folder),), sections=(), library=2)
    run(settings, out=tmp_path / "examined", command=["python", "-m", "evals.physics", "--clips", "2"])
    result = CliRunner().invoke(cli.card, [str(tmp_path / "examined"), str(folder)])
    assert result.exit_code == 0, result.output
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "`python -m evals.physics --clips 2`" in text and "ADE in distribution" in text
    assert {path.name for path in (folder / "card").iterdir()} == {"clips.png", "futures.png"}
    assert CliRunner().invoke(cli.card, [str(tmp_path / "examined"), str(folder)]).exit_code == 0
    assert (folder / "README.md").read_text(encoding="utf-8") == text
    with (folder / "vdt.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(VDTError, match="other weights"):
        CliRunner().invoke(cli.card, [str(tmp_path / "examined"), str(folder)], catch_exceptions=False)


def test_results_without_a_model_say_nothing_of_a_checkpoint(tmp_path) -> None:
    nothing = {**body(0.4, 1, 0, 1, -1), "model": None, "predictors": []}
    with pytest.raises(VDTError, match="examined no model"):
        cli._check(nothing, tmp_path, tmp_path)
    nothing = {**nothing, "model": "m", "predictors": json.loads('[{"name": "m", "details": {}}]')}
    with pytest.raises(VDTError, match="no checkpoint folder"):
        cli._check(nothing, tmp_path, tmp_path)


@pytest.mark.slow
def test_a_full_disk_leaves_the_card_that_there_was(checkpoint, tmp_path) -> None:
    from evals.physics.run import run
    from evals.physics.settings import Settings
    from tests.full_disk import full_disk

    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    (folder / "README.md").write_text("# Before\n")
    settings = Settings(scenarios=("uniform",), clips=1, models=(str(folder),), sections=(), library=2)
    run(settings, out=tmp_path / "examined", command=["x"])
    with full_disk(1_000), pytest.raises((OSError, VDTError)):
        CliRunner().invoke(cli.card, [str(tmp_path / "examined"), str(folder)], catch_exceptions=False)
    assert (folder / "README.md").read_text() == "# Before\n" and not list((folder / "card").iterdir())
