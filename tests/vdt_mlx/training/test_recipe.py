"""`train recipe`: every stage is trained and resumed where it stopped, and the last one is packed."""

import json

import pytest
from click.testing import CliRunner
from training_runs import CONFIG, make_clips

from vdt_mlx.checkpoint import load_autoencoder, load_vdt
from vdt_mlx.commands.train import train
from vdt_mlx.config import read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.training import recipe as recipes
from vdt_mlx.training import state as saving
from vdt_mlx.training.config import load_config
from vdt_mlx.training.recipe import load_recipe, recipe_names, run_recipe

STAGES = """
[recipe]
hours = 1.0
[[recipe.stages]]
name = "autoencoder"
train = "autoencoder"
[[recipe.stages]]
name = "network"
train = "vdt"
autoencoder = "autoencoder"
[[recipe.stages]]
name = "falling"
train = "vdt"
init = "network"
length = 0.5
settings = ["optimizer.schedule=cosine"]
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    make_clips(folder / "videos")
    path = folder / "small.toml"
    shorter = CONFIG.replace("PATH", str(folder / "videos")).replace("steps = 8", "steps = 4")
    path.write_text(shorter + STAGES + "[loss]\ndead_units = 1e-3\n[objective]\ngiven = [1, 3]\n")
    return path


def scores(folder):
    return {
        "split": "val",
        "calls": 1,
        "clips": 0,
        "pair_error": 0.0,
        "pair_error_final": 0.0,
        "presence": 1.0,
    } | dict.fromkeys(("copy_last_pair_error", "copy_last_pair_error_final"), 0.0)


def test_the_shipped_recipe_is_a_configuration_with_stages():
    assert "physics" in recipe_names()
    recipe = load_recipe(recipes.RECIPES / "physics.toml")
    assert recipe.stages[0].train == "autoencoder" and recipe.stages[-1].train == "vdt"
    for stage in recipe.stages:
        config = load_config(str(recipes.RECIPES / "physics.toml"), stage.settings)
    assert config.vdt.hidden_size // config.vdt.num_heads == 64
    assert set(config.data.scenarios) == {*__import__("physics_sim").SCENARIOS, *__import__("physics_sim").LAWS}


def test_all_stages_then_the_packed_checkpoint(small, tmp_path):
    out = tmp_path / "out"
    done = run_recipe(small, out, scorer=scores)["done"]
    assert [done[name]["steps"] for name in ("autoencoder", "network", "falling")] == [4, 4, 2]
    run = saving.read_run(out / "falling")
    assert run["config"]["optimizer"]["schedule"] == "cosine"
    config = read_config(out / "checkpoint")
    assert [earlier["steps"] for earlier in config.training["earlier"]] == [4]
    assert config.training["autoencoder"]["steps"] == 4
    assert load_vdt(out / "checkpoint").config.hidden_size == 16
    assert load_autoencoder(out / "checkpoint").config.latent_channels == 4
    assert "2 steps" in (out / "checkpoint" / "README.md").read_text()
    assert len(list((out / "cache").glob("*.f16"))) == 1  # encoded once for all stages
    assert run_recipe(small, out, resume=True, scorer=scores)["done"] == done


def test_a_recipe_that_was_cut_off_ends_as_if_it_had_not_been(small, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    run_recipe(small, whole, scorer=scores)
    out, calls = tmp_path / "out", []
    write = recipes._write

    def dies(folder, status):
        write(folder, status)
        calls.append(1)
        if len(calls) in (2, 3):  # after the autoencoder; in the next process, after the network
            raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(small, out, scorer=scores)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(small, out, resume=True, scorer=scores)
    run_recipe(small, out, resume=True, scorer=scores)
    for file in ("vdt.safetensors", "autoencoder.safetensors"):
        assert (out / "checkpoint" / file).read_bytes() == (whole / "checkpoint" / file).read_bytes()


def test_a_stage_that_goes_on_draws_from_the_clips_that_there_are(tmp_path):
    config = load_config("physics", ("data.prefill=100", "data.fresh=3", "data.pool=1000")).to_dict()
    (tmp_path / "network").mkdir()
    saving.write_run(tmp_path / "network", {"config": config})
    stage = recipes.Stage(name="falling", train="vdt", init="network", length=0.25)
    for steps, clips in ((200, 700), (2000, 1000)):
        changes = recipes._derived(stage, tmp_path, {"done": {"network": {"steps": steps}}})
        assert changes[1:] == [f"loop.steps={steps // 4}", f"data.prefill={clips}"]


def test_hours_end_a_stage_and_are_counted_over_resumes(small, tmp_path):
    out = tmp_path / "out"
    done = run_recipe(small, out, hours=1e-6, scorer=scores)["done"]
    assert [done[name]["steps"] for name in ("autoencoder", "network", "falling")] == [1, 1, 1]
    assert json.loads((out / recipes.STATUS).read_text())["hours"] == 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('train = "vdt"', 'train = "video"'), "autoencoder or vdt"),
        (('init = "network"', 'init = "later"'), "not before it"),
        (("length = 0.5", "lenght = 0.5"), "did you mean 'length'"),
        (("length = 0.5", "length = -1.0"), "multiple above 0"),
        (('name = "falling"', 'name = "../falling"'), "named as a folder"),
        (('name = "falling"', 'name = "network"'), "two stages"),
        (("hours = 1.0", 'hours = "long"'), "cannot be 'long'"),
        (("[recipe]\nhours = 1.0", "[recipe]"), "hours"),
        (("optimizer.schedule=cosine", "optimizer.shedule=cosine"), "did you mean 'schedule'"),
        (("[[recipe.stages]]", "[[other.stages]]"), "no table [recipe] with stages"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_before_it_begins(tmp_path, change, message):
    path = tmp_path / "recipe.toml"
    path.write_text((CONFIG + STAGES).replace(*change).replace("PATH", str(tmp_path)))
    with pytest.raises(VDTError) as error:
        run_recipe(path, tmp_path / "out")
    assert message in str(error.value) and not (tmp_path / "out").exists()


def test_command_refuses_what_cannot_be(small, tmp_path):
    def refused(*arguments):
        return str(CliRunner().invoke(train, ["recipe", *map(str, arguments)]).exception)

    out = tmp_path / "out"
    assert "no recipe 'physic'" in refused("physic", "--out", out)
    assert "not the folder of a recipe" in refused("physics", "--out", out, "--resume")
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert "not empty (choose another)" in refused(small, "--out", out)
    (out / "recipe.json").write_text("{}")
    assert "does not describe a recipe" in refused(small, "--out", out, "--resume")
    (out / "recipe.json").write_text('{"recipe": "other", "set": [], "hours": 1, "done": {}}')
    assert "holds the recipe 'other'" in refused(small, "--out", out, "--resume")
    (out / "recipe.json").write_text(json.dumps({"recipe": str(small), "set": [], "hours": 1, "done": {}}))
    assert "keeps its settings" in refused(small, "--out", out, "--resume", "--set", "loop.batch=3")
