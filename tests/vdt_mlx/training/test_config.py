"""Training configurations: what is shipped loads, and what does not fit is refused by name."""

import pytest

from vdt_mlx.config import PRESETS
from vdt_mlx.errors import VDTError
from vdt_mlx.training.config import ObjectiveConfig, config_from_dict, config_names, differences, load_config


def test_shipped_configurations_load():
    assert config_names() == ["physics", "vdt-l", "vdt-s"]
    assert load_config("vdt-s").vdt == PRESETS["VDT-S/2"]
    assert load_config("vdt-l").vdt == PRESETS["VDT-L/2"]
    physics = load_config("physics")
    assert physics.vdt == PRESETS["physics"]
    assert physics.objective.tasks["predict"] > max(w for t, w in physics.objective.tasks.items() if t != "predict")


def test_changes_are_typed_and_reach_every_section():
    config = load_config("physics", ("loop.batch=8", "data.scenarios=['roll']", "optimizer.name=adamw", "name=mine"))
    assert (config.loop.batch, config.data.scenarios, config.optimizer.name) == (8, ("roll",), "adamw")
    assert config.name == "mine"
    assert load_config("physics", ("objective.tasks.spatial=0",)).objective.tasks["spatial"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("loop.bach=8", "did you mean 'batch'"),
        ("optimiser.lr=1", "did you mean 'optimizer'"),
        ("objective.tasks.predicted=1", "did you mean 'predict'"),
        ("data.source=simulated", "did you mean 'simulate'"),
        ("loop.batch=0", "at least 1"),
        ("loop.batch='many'", "cannot be 'many'"),
        ("loop.accumulate=3", "does not divide"),
        ("loop.precision=fp8", "fp8"),
        ("optimizer.lr=-1", "above 0"),
        ("optimizer.lr=fast", "lr"),
        ("optimizer.ema=1.5", "ema"),
        ("data.size=[64, 72]", "latent_size"),
        ("data.size=[60, 60]", "latent cells"),
        ("data.frames=8", "num_frames"),
        ("data.source=videos", "data.path"),
        ("data.first=-1", "data.first"),
        ("diffusion.eta=2", "eta"),
        ("vdt.learn_sigma=true", "learn_sigma"),
        ("batch", "section.key=value"),
        ("name.x=1", "not a section"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(VDTError, match=message):
        load_config("physics", (change,))


def test_files_that_are_no_configuration(tmp_path):
    with pytest.raises(VDTError, match="no training configuration 'nothing'"):
        load_config("nothing")
    broken = tmp_path / "broken.toml"
    broken.write_text("[loop\nbatch = 1")
    with pytest.raises(VDTError, match="is not TOML"):
        load_config(str(broken))
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VDTError, match="not UTF-8"):
        load_config(str(broken))


def test_a_configuration_survives_its_json_form():
    config = load_config("physics")
    assert config_from_dict(config.to_dict(), "run.json") == config
    other = load_config("physics", ("loop.batch=8", "data.frames=16"))
    assert differences(config.to_dict(), other.to_dict()) == ["loop.batch: 16 -> 8"]


@pytest.mark.parametrize("text", ["2024-05-01", "true", "2024", "1.5", "[x", '"quoted"'])
def test_text_stays_text_whatever_it_looks_like(text):
    config = load_config("physics", ("data.source=videos", f"data.path={text}"))
    assert config.data.path == text.strip('"')


def test_a_change_of_one_tasks_weight_leaves_the_others(tmp_path):
    (tmp_path / "empty.toml").write_text('[vdt]\nconditioning = "adaln"\n')
    fitting = ("vdt.latent_size=[8, 8]",)
    config = load_config(str(tmp_path / "empty.toml"), (*fitting, "objective.tasks.spatial=0"))
    assert config.objective.tasks == {**ObjectiveConfig().tasks, "spatial": 0}
