"""The comparisons: the table of runs, a run that is stopped and goes on, intervals with known answers, the report."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evals.ablations import analysis, page
from evals.ablations import run as runs
from evals.ablations.cli import ablations
from evals.ablations.plan import SHIPPED, Plan, read_plan
from evals.ablations.reference import reference
from evals.scoring.cases import choose_groups, make_case
from vdt_mlx.errors import VDTError

TABLE = """
[world]
inside = ["uniform:val"]
outside = ["uniform:ood"]
clips = 3
given = 8
sweep = [2, 8]
sweep_clips = 2

[train]
seeds = 1
autoencoder = "{autoencoder}"

[train.config]
name = "tiny"

[train.config.vdt]
hidden_size = 32
depth = 1
num_heads = 2
latent_size = [8, 8]
learn_sigma = false

[train.config.diffusion]
prediction = "flow"
schedule = "flow"
sampler = "euler"
steps = 1

[train.config.autoencoder]
kind = "kl"
block_out_channels = [8, 8, 8, 8]
layers_per_block = [1, 1]
norm_num_groups = 4

[train.config.data]
scenarios = ["uniform"]
prefill = 4
fresh = 1

[train.config.loop]
steps = 2
batch = 2
preview_minutes = 0

[[comparison]]
name = "depth"
title = "Depth"
paper = "Deeper is better"
source = "nobody"
order = ["deeper", "centre"]

[comparison.arms]
centre = {{}}
deeper = {{ "vdt.depth" = 2 }}
"""


@pytest.fixture
def table(tmp_path: Path, checkpoint: Path) -> Path:
    path = tmp_path / "arms.toml"
    path.write_text(TABLE.format(autoencoder=checkpoint))
    return path


def test_the_shipped_table_is_whole() -> None:
    plan = read_plan(SHIPPED)
    assert {"conditioning", "attention", "position", "patch", "depth", "width", "heads", "tasks", "objective"} == {
        comparison.name for comparison in plan.comparisons
    }
    assert all("centre" in comparison.arms for comparison in plan.comparisons)
    assert plan.seeds("adaln") == plan.seeds("joint") == 3 and plan.seeds("rotary") == 2
    assert len({run.name for run in plan.runs()}) == len(plan.runs())


@pytest.mark.slow
def test_it_trains_scores_reports_and_goes_on(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "evals.ablations", "--table", str(table), "--out", str(out)]
    first = subprocess.run([*command, "--only", "centre"], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "1 runs are still to do" in first.stdout
    listed = CliRunner().invoke(ablations, ["--table", str(table), "--out", str(out), "--list"])
    assert [line.split()[0] for line in listed.output.splitlines()] == ["done", "to"]
    kept = (out / "runs" / "centre-s0" / "score.json").read_bytes()
    whole = subprocess.run(command, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    assert "1 of 2 runs are done" in whole.stderr
    assert (out / "runs" / "centre-s0" / "score.json").read_bytes() == kept
    text = (out / "ablations.md").read_text()
    pictures = [line.split("(")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert pictures and all((out / picture).stat().st_size > 1000 for picture in pictures)
    arms = analysis.load(read_plan(table), out)
    assert arms["deeper"].parameters > arms["centre"].parameters
    assert arms["centre"].values[2]["ade"]["uniform:val"].shape == (1, 2)


def test_a_folder_with_other_settings_is_refused(table: Path, tmp_path: Path) -> None:
    plan = read_plan(table)
    run = plan.runs()[0]
    folder = runs.folder_of(run, tmp_path)
    folder.mkdir(parents=True)
    (folder / runs.IDENTITY).write_text(json.dumps({"identity": plan.identity(run)}))
    runs.check_identity(plan, run, tmp_path)
    table.write_text(table.read_text().replace("clips = 3", "clips = 4"))
    with pytest.raises(VDTError, match="other settings"):
        runs.check_identity(read_plan(table), run, tmp_path)
    (folder / runs.IDENTITY).write_text("{")
    with pytest.raises(VDTError, match="damaged"):
        runs.check_identity(plan, run, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("clips = 3", "clip = 3", "unknown key 'clip'"),
        ("clips = 3", "clips = 0", "at least 1"),
        ("given = 8", "given = 16", "16 context frames do not fit"),
        ("uniform:ood", "unifrom:ood", "Unknown scenario"),
        ('"vdt.depth" = 2', '"vdt.dept" = 2', "unknown key 'dept'"),
        ('"deeper", "centre"]', '"deepest", "centre"]', "'deepest', which is none of its arms"),
        ("[[comparison]]", "[[comparisons]]", "unknown section 'comparisons'"),
        ("centre = {}", 'centre = {}\n"../x" = {}', "cannot name a folder"),
        ("[world]", "[world", "is not TOML"),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(table: Path, old: str, new: str, message: str) -> None:
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(VDTError, match=message):
        read_plan(table)


def test_an_unknown_arm_is_refused(table: Path, tmp_path: Path) -> None:
    found = CliRunner().invoke(ablations, ["--table", str(table), "--out", str(tmp_path), "--only", "wider"])
    assert isinstance(found.exception, VDTError) and "deeper" in str(found.exception)


# ---- intervals with known answers


def arm(name: str, level: float, gflops: float, seeds: int = 3, outside: float = 2.0) -> analysis.Arm:
    """Clips whose difficulty all arms share, so that differences are exact although the levels are not."""
    hard = np.random.default_rng(0).normal(0, 1, 40)
    inside = level + np.tile(hard, (seeds, 1)) + 5
    metrics = {
        metric: {"uniform:val": inside, "uniform:ood": outside * inside}
        for metric in ("ade", "velocity", "contact", "ssim")
    }
    return analysis.Arm(name, seeds, {8: metrics}, int(1e6 * gflops), gflops, [[]])


def test_differences_are_paired_over_clips() -> None:
    draws = analysis.Resamples()
    a, b = (arm("a", level, 1).column(8, "ade", ("uniform:val",)) for level in (0.0, 0.05))
    gap = draws.difference(a, b)
    assert gap.mean == pytest.approx(0.05) and gap.low == pytest.approx(0.05) and gap.high == pytest.approx(0.05)
    alone = draws.estimate(a)
    assert alone.high - alone.low > 0.4


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        found = analysis.Resamples(400).estimate(rng.normal(1.0, 1.0, (1, 50)))
        held += found.low <= 1.0 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_seeds_that_disagree_widen_the_interval() -> None:
    values = np.ones((3, 30)) * np.array([[0.0], [1.0], [2.0]])
    assert analysis.Resamples().estimate(values).low == 0.0
    assert analysis.Resamples().estimate(np.ones((3, 30))).low == 1.0


def test_values_that_do_not_apply_are_left_out() -> None:
    values = np.array([[1.0, np.nan, 3.0]])
    assert analysis.Resamples().estimate(values).mean == 2.0


def test_extrapolation_and_rank_correlation(table: Path) -> None:
    plan = read_plan(table)
    arms = {f"a{i}": arm(f"a{i}", level=1.0 - 0.1 * i, gflops=1.0 + i) for i in range(6)}
    assert analysis.extrapolation(plan, arms["a0"], analysis.Resamples()).mean == pytest.approx(2.0)
    found = analysis.rank_correlation(plan, arms)
    assert found is not None and found.mean == pytest.approx(-1.0) and found.high < 0
    assert analysis.rank_correlation(plan, {"a0": arms["a0"]}) is None


@pytest.mark.parametrize(
    ("deeper", "word"), [(-0.5, "as in the paper"), (0.5, "against the paper"), (0.0, "within noise")]
)
def test_the_paper_s_order_is_judged_by_the_interval(table: Path, deeper: float, word: str) -> None:
    plan: Plan = read_plan(table)
    arms = {"centre": arm("centre", 0.0, 1.0), "deeper": arm("deeper", deeper, 2.0)}
    comparison = plan.comparisons[0]
    assert word in analysis.agreement(plan, comparison, arms)
    sentence = page.against_centre(plan, comparison, arms)[0]
    assert ("within noise" in sentence) == (word == "within noise")


def test_repeating_the_last_frame_is_as_far_off_as_the_ball_has_moved(table: Path, tmp_path: Path) -> None:
    plan = read_plan(table)
    still = reference(plan, tmp_path)
    assert still.values[8]["ade"]["uniform:val"].shape == (1, 3)
    (group,) = choose_groups(("uniform:val",))
    for index in range(3):
        case = make_case(group, index, 8, 1)
        paths = case.clip.pixels()
        moved = np.linalg.norm(paths[8:] - paths[7], axis=-1)[:, 0]
        seen = np.minimum(moved, 20)
        assert still.values[8]["ade"]["uniform:val"][0, index] == pytest.approx(seen.mean(), abs=1.0)
    written = (tmp_path / "reference.json").read_bytes()
    assert reference(plan, tmp_path).values[8]["ade"]["uniform:val"] == pytest.approx(
        still.values[8]["ade"]["uniform:val"]
    )
    for damaged in ("{", "[]", '{"scored": 1}', json.dumps({**json.loads(written), "values": {"8": 3}})):
        (tmp_path / "reference.json").write_text(damaged)
        reference(plan, tmp_path)
        assert (tmp_path / "reference.json").read_bytes() == written
