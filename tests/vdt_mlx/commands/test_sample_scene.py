"""`vdt-mlx sample --scene`: a scene that the page saved is sampled from, and replayed."""

import json

import numpy as np
import pytest

import physics_sim
from vdt_mlx import cli
from vdt_mlx.play.scene import write_scene


@pytest.fixture
def sample(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """Runs `vdt-mlx sample` beside a file scene.json: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    scene = write_scene(physics_sim.make_clip("collide", "val", 0).scene)
    (tmp_path / "scene.json").write_text(json.dumps(scene))

    def run(*arguments: object, model: bool = True) -> tuple[int, str, str]:
        chosen = ["--model", str(tiny_checkpoint)] if model else []
        with pytest.raises(SystemExit) as ended:
            cli.run(cli.vdt_mlx, args=["sample", *chosen, *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_a_saved_scene_is_the_clip_that_it_was_saved_from(sample, tmp_path) -> None:
    status, out, _ = sample("--scene", "scene.json", "--json", "--format", "npz")
    assert status == 0
    result = json.loads(out)
    assert result["outputs"]["npz"] == "vdt-out/predict-scene-seed0/sample.npz"
    assert "pair_error" in result["metrics"]
    assert sample("--scenario", "collide", "--json", "--format", "npz", "--out", "same")[0] == 0
    replayed = sample("--replay", result["outputs"]["settings"], "--json", "--out", "again", model=False)
    assert replayed[0] == 0
    files = [tmp_path / result["outputs"]["npz"], tmp_path / "same" / "sample.npz", tmp_path / "again" / "sample.npz"]
    arrays = [np.load(path) for path in files]
    for other in arrays[1:]:
        assert np.array_equal(arrays[0]["truth"], other["truth"])
        assert np.array_equal(arrays[0]["samples"], other["samples"])


def test_a_scene_goes_on_for_as_long_as_is_asked_and_the_last_line_says_what_is_next(sample, tmp_path) -> None:
    status, out, _ = sample("--scene", "scene.json", "--frames", 20, "--format", "npz", "--out", "my long")
    assert status == 0
    assert out.splitlines()[-1].startswith("next:") and "--replay 'my long/sample.json'" in out.splitlines()[-1]
    with np.load(tmp_path / "my long" / "sample.npz") as arrays:
        assert arrays["truth"].shape == (20, 64, 64, 3)


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        (None, ["--scene", "nothing.json"], "nothing.json"),
        ("{", ["--scene", "bad.json"], "not JSON"),
        ('{"settings": {}}', ["--scene", "bad.json"], "no bodies"),
        ('{"bodies": 3}', ["--scene", "bad.json"], "not a list"),
        ('{"bodies": []}', ["--scene", "bad.json"], "red agent"),
        (None, ["--scene", "scene.json", "--scenario", "drop"], "--scenario would do nothing"),
        (None, ["--scene", "scene.json", "--input", "x.gif"], "--scene would do nothing"),
        (None, ["--scene", "scene.json", "--stride", 2], "--stride would do nothing"),
        (None, ["--scene", "scene.json", "--task", "unconditional"], "--scene would do nothing"),
    ],
)
def test_bad_scenes_and_flags_are_one_sentence(sample, tmp_path, text, arguments, words) -> None:
    if text is not None:
        (tmp_path / "bad.json").write_text(text)
    status, out, err = sample(*arguments)
    assert (status, out) == (2, "") and words in err.strip().splitlines()[-1]
    assert not (tmp_path / "vdt-out").exists()
