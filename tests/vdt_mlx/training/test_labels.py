"""Labels in training: which class each clip has, how often it is dropped, what comes of it, what is refused."""

import dataclasses
from collections import Counter

import mlx.core as mx
import numpy as np
import pytest
from click.testing import CliRunner
from training_runs import losses, start

import physics_sim
from physics_sim.dataset import DataSetSpec, write
from vdt_mlx.checkpoint import load_autoencoder, load_vdt
from vdt_mlx.commands.sample import sample
from vdt_mlx.config import read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.training.batches import LatentBatches
from vdt_mlx.training.config import load_config
from vdt_mlx.training.data import build_source

pytestmark = pytest.mark.usefixtures("uncompiled")

NAMES = ("uniform", "parabola", "uniform")
LABELLED = (
    "data.source=simulate",
    "data.size=[16, 16]",
    "vdt.latent_size=[4, 4]",
    'data.scenarios=["uniform", "parabola", "uniform"]',
    "data.prefill=6",
    "data.workers=1",
    "vdt.num_classes=2",
    'vdt.labels=["parabola", "uniform"]',
    "optimizer.schedule=constant",
)


def test_scenarios_come_in_turn_as_the_labels_say(problem):
    for first in (0, 4):
        source = build_source(load_config(problem["config"], (*LABELLED, f"data.first={first}")).data, workers=0)
        stream = physics_sim.stream(NAMES, "train", start=first, size=16, frames=4)
        assert source.labels(5) == [next(stream).scenario for _ in range(5)]


def test_a_share_of_the_labels_is_dropped_and_the_others_are_the_clips_own(problem, tmp_path):
    config = load_config(problem["config"], (*LABELLED, "objective.label_dropout=0.25", "loop.batch=40"))
    batches = LatentBatches(config, load_autoencoder(problem["autoencoder"]), tmp_path)
    batches.fill(0, lambda _: None)
    seen: Counter[int] = Counter()
    for step in range(30):
        classes, indices = batches.classes(step), batches._indices(step)
        assert classes is not None and classes.dtype == np.int32
        own = np.array([config.vdt.labels.index(NAMES[index % 3]) for index in indices])
        kept = classes != len(config.vdt.labels)
        assert (classes[kept] == own[kept]).all()
        seen.update(kept.tolist())
    batches.close()
    assert 0.2 < seen[False] / sum(seen.values()) < 0.3
    again = LatentBatches(config, load_autoencoder(problem["autoencoder"]), tmp_path)
    assert (again.classes(29) == classes).all()
    again.close()


def test_a_data_set_tells_the_labels_of_the_clips_to_train_on_and_of_those_held_out(problem, tmp_path):
    write(tmp_path / "set", DataSetSpec(("uniform", "parabola"), "train", 20, size=16, frames=4))
    config = dataclasses.replace(load_config(problem["config"]).data, source="folder", path=str(tmp_path / "set"))
    every = [metadata["scenario"] for _, metadata in physics_sim.open_dataset(tmp_path / "set")]
    assert build_source(config).labels(100) == [*every[:15], *every[16:]]
    assert build_source(config, "val").labels(100) == [every[15]]


def test_a_labelled_run_resumes_exactly_learns_its_rows_and_generates_by_label(problem, tmp_path):
    start(problem, tmp_path / "whole", *LABELLED, steps=4)
    start(problem, tmp_path / "cut", *LABELLED, steps=2)
    start(problem, tmp_path / "cut", *LABELLED, steps=4, resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    folder = tmp_path / "whole" / "checkpoint"
    assert read_config(folder).vdt.labels == ("parabola", "uniform")
    model = load_vdt(folder)
    table = model.y_embedder.embedding_table.weight
    assert table.shape[0] == 3 and len({tuple(row) for row in np.array(table).tolist()}) == 3
    x, t = mx.zeros((1, 4, 4, 4, 4)), mx.full((1,), 500.0)
    answers = [np.array(model(x, t, y=mx.array([label]))) for label in range(3)]
    assert not np.allclose(answers[0], answers[1]) and not np.allclose(answers[1], answers[2])
    common = ["--model", str(folder), "--task", "unconditional", "--format", "npz"]
    result = CliRunner().invoke(
        sample, [*common, "--label", "parabola", "--guidance", "2", "--out", str(tmp_path / "generated")]
    )
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("data.source=simulate", 'data.scenarios=["uniform"]', 'vdt.labels=["drop"]'), "does not name"),
        (('vdt.labels=["drop"]',), "has no labels"),
        (("objective.label_dropout=1.5",), "between 0 and 1"),
        (("vdt.conditioning=adaln",), "objective.tasks.spatial = 0"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_the_first_step(problem, tmp_path, changes, said):
    sizes = () if "data.source=simulate" not in changes else ("data.size=[16, 16]", "vdt.latent_size=[4, 4]")
    with pytest.raises(VDTError, match=said):
        start(problem, tmp_path / "run", *sizes, *changes)
    assert not (tmp_path / "run" / "checkpoint").exists()
