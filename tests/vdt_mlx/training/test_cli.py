"""`vdt-mlx train` from the outside: what it writes, and one sentence for what it cannot do."""

import json

import pytest
from click.testing import CliRunner
from training_runs import CONFIG

from vdt_mlx.commands.train import train
from vdt_mlx.errors import VDTError
from vdt_mlx.training.config import load_config


def invoke(*arguments: str):
    return CliRunner().invoke(train, list(arguments))


def test_help_names_the_subcommands():
    text = invoke("--help").output
    assert all(name in text for name in ("autoencoder", "vdt", "plot", "score", "pack"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vdt", "--out", "OUT", "--config", "physic"), "no training configuration"),
        (("vdt", "--out", "OUT", "--set", "loop.bach=3"), "did you mean 'batch'"),
        (("vdt", "--out", "OUT"), "needs an autoencoder"),
        (("vdt", "--out", "OUT", "--autoencoder", "nowhere"), "no checkpoint folder"),
        (("vdt", "--out", "OUT", "--resume"), "not the folder of a training run"),
        (("autoencoder", "--out", "OUT", "--set", "data.scenarios=['role']"), "did you mean 'roll'"),
        (("plot", "OUT"), "not the folder of a training run"),
        (("score", "OUT"), "no checkpoint folder"),
        (("pack", "OUT", "OTHER"), "no checkpoint folder"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, arguments, message):
    out = tmp_path / "out"
    result = invoke(*(str(out) if word == "OUT" else word for word in arguments))
    assert isinstance(result.exception, VDTError)
    assert message in str(result.exception)
    assert not out.exists()


@pytest.mark.parametrize("arguments", [("--steps", "0"), ("--hours", "-1"), ("--out",)])
def test_options_out_of_range_are_refused(arguments):
    assert invoke("vdt", *arguments).exit_code == 2


def test_score_and_pack_a_checkpoint(tiny_checkpoint, tmp_path):
    """A random network loses to repeating the last frame, and the numbers say so."""
    result = invoke("score", str(tiny_checkpoint), "--clips", "2", "--split", "val", "--json")
    scores = json.loads(result.output)
    assert scores["clips"] == 2 and scores["split"] == "val" and scores["calls"] == 2
    assert scores["pair_error"] > scores["copy_last_pair_error"]

    target = tmp_path / "shipped"
    target.mkdir()
    (target / "kept.txt").write_text("kept")
    assert invoke("pack", str(tiny_checkpoint), str(target), "--clips", "2", "--split", "val").exit_code == 0
    assert (target / "kept.txt").read_text() == "kept"
    card = (target / "README.md").read_text()
    assert "| all | 2 |" in card and f"| {scores['copy_last_pair_error']:.2f} |" in card

    import mlx.core as mx

    from vdt_mlx.checkpoint import flat_parameters, load_vdt
    from vdt_mlx.config import read_config

    assert read_config(target).training["scores"]["pair_error"] == pytest.approx(scores["pair_error"], abs=0.5)
    assert (
        invoke("pack", str(tiny_checkpoint), str(target), "--autoencoder", str(target), "--clips", "1").exit_code == 0
    )
    before, after = flat_parameters(load_vdt(tiny_checkpoint)), flat_parameters(load_vdt(target, None))
    assert all(value.dtype == mx.float16 for value in after.values())
    assert all(mx.allclose(value, before[name], atol=2e-3) for name, value in after.items())


def test_a_card_tells_of_every_run(tiny_checkpoint):
    from vdt_mlx.config import read_config
    from vdt_mlx.training.release import _autoencoder_run, card
    from vdt_mlx.training.start import facts, lineage

    data = {
        "source": "simulate",
        "split": "train",
        "pool": 1000,
        "prefill": 64,
        "fresh": 2,
        "scenarios": ["uniform"] * 2,
    }
    first = {"config": {"data": data, "loop": {"batch": 16}}, "steps": 100, "hours": 0.5}
    second = {**first, "steps": 300, "hours": 1.25, "earlier": lineage(first)}
    assert [(run["steps"], run["clips"]) for run in lineage(second)] == [(100, 264), (300, 664)]
    text = card(
        {**second, "earlier": lineage(second)},
        read_config(tiny_checkpoint).vdt,
        {"split": "val", "clips": 0, "calls": 1},
    )
    assert "100 steps (0.5 hours, 264 clips), 300 steps (1.25 hours, 664 clips). In all 3.0 hours" in text
    assert "uniform (2 times as often)" in text
    assert "decoder" not in text
    batch = "autoencoder_loop.batch=24"
    whole, alone = (
        {"config": load_config("physics", (batch, f"loss.decoder_only={only}")).to_dict(), "steps": steps, "hours": 0.1}
        for only, steps in (("false", 900), ("true", 800))
    )
    runs = {**_autoencoder_run(whole), **_autoencoder_run(alone)}
    text = card({**first, **runs}, read_config(tiny_checkpoint).vdt, {"split": "val", "clips": 0, "calls": 1})
    assert "The autoencoder was trained for 900 steps of 24 frames (0.1 hours)" in text
    assert "trained alone, for 800 steps of 24 frames (0.1 hours)" in text
    for other in ({}, first, {"config": "text"}):
        assert _autoencoder_run(other) == {}
    assert lineage(None) == lineage({"who": "else"}) == lineage({"steps": 1, "config": "text"}) == []
    assert facts(load_config("physics"), {"split": "train"}, [{"split": "test"}])["splits"]["train"] == [
        "test",
        "train",
    ]


def test_pack_folds_dead_blocks(tmp_path):
    import mlx.core as mx
    import numpy as np

    from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, save_checkpoint
    from vdt_mlx.config import CheckpointConfig
    from vdt_mlx.network.autoencoder import build_autoencoder
    from vdt_mlx.network.vdt import VDT
    from vdt_mlx.training.config import load_config
    from vdt_mlx.training.release import pack

    (tmp_path / "videos").mkdir()
    for number in range(2):
        np.savez(tmp_path / "videos" / f"{number}.npz", frames=np.full((8, 8, 8, 3), 90 * number, np.uint8))
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG.replace("PATH", str(tmp_path / "videos")))
    settings = load_config(str(path))
    model, network = build_autoencoder(settings.autoencoder), VDT(settings.vdt)
    model.encoder.layers[2].conv[2].bias = mx.full((8,), -1e4)
    config = CheckpointConfig(
        vdt=settings.vdt, autoencoder=settings.autoencoder, training={"config": settings.to_dict(), "steps": 1}
    )
    save_checkpoint(tmp_path / "run", config, flat_parameters(network), flat_parameters(model))
    scored = {"clips": 1, "split": "val", "calls": 1}
    scored |= dict.fromkeys(("pair_error", "copy_last_pair_error", "pair_error_final"), 1.0)
    scored |= {"copy_last_pair_error_final": 1.0, "presence": 1.0}
    (tmp_path / "shipped").mkdir()
    assert pack(tmp_path / "run", tmp_path / "shipped", lambda draft: scored) == ["encoder.layers.2"]
    shipped = load_autoencoder(tmp_path / "shipped")
    assert shipped.encoder.layers[2].constant and not shipped.encoder.layers[4].constant
