"""`vdt-mlx sample` from the outside: what it writes, what it refuses, what it leaves behind."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from vdt_mlx.diffusion.masks import TASKS
from vdt_mlx.media import video

ROOT = Path(__file__).parents[3]


def vdt_mlx(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vdt_mlx", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120)


@pytest.fixture
def in_process(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """Runs `vdt-mlx sample --model TINY ...` in this process: (exit status, stdout, stderr)."""
    from vdt_mlx import cli

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, model: Path | None = tiny_checkpoint) -> tuple[int, str, str]:
        chosen = [] if model is None else ["--model", str(model)]
        with pytest.raises(SystemExit) as ended:
            cli.run(cli.vdt_mlx, args=["sample", *chosen, *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.mark.parametrize("task", TASKS)
def test_every_task_on_a_simulated_clip(in_process, tmp_path, task) -> None:
    status, out, _ = in_process("--task", task, "--json", "--out", "o", "--format", "gif,npz")
    assert status == 0
    result = json.loads(out)
    assert set(result) == {"outputs", "settings", "metrics", "seconds"}
    assert ("pair_error" in result["metrics"]) == (task != "unconditional")
    for path in result["outputs"].values():
        assert (tmp_path / path).exists()
    with np.load(tmp_path / "o" / "sample.npz") as arrays:
        given = arrays["mask"].max(axis=(1, 2)) == 0
        assert arrays["samples"].shape == (1, 16, 64, 64, 3)
        assert (arrays["samples"][0][given] == arrays["truth"][given]).all()


def test_what_is_written(in_process, tmp_path) -> None:
    status, out, _ = in_process("--out", "o", "--format", "gif,mp4,png,npz", "--samples", 2)
    assert status == 0
    assert "pair error:" in out
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert names == {"sample.gif", "sample.mp4", "frames", "sample.npz", "contact_sheet.png", "sample.json"}
    with Image.open(tmp_path / "o" / "sample.gif") as gif:
        assert gif.n_frames == 16
        assert gif.width > 3 * 256  # truth and two samples side by side
    saved = json.loads((tmp_path / "o" / "sample.json").read_text())
    assert saved["made_with"]["sampler"] == "euler"
    assert saved["metrics"]["pair_error_best"] <= saved["metrics"]["pair_error"]


def test_replay_makes_the_same_clip(in_process, tmp_path) -> None:
    first = in_process("--out", "a", "--format", "npz", "--seed", 5, "--task", "spatial", "--scene-seed", 3)
    again = in_process("--replay", "a/sample.json", "--out", "b", model=None)
    assert first[0] == again[0] == 0
    with np.load("a/sample.npz") as a, np.load("b/sample.npz") as b:
        for name in ("truth", "samples", "mask"):
            assert (a[name] == b[name]).all()


def test_a_replay_finds_its_files_from_anywhere(in_process, tiny_checkpoint, tmp_path, monkeypatch) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    np.savez("mine.npz", frames=np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8))
    options = ("--input", "mine.npz", "--model", "model", "--format", "npz")
    assert in_process(*options, "--out", "out/a", model=None)[0] == 0
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert in_process("--replay", "../out/a/sample.json", "--out", "b", model=None)[0] == 0
    assert in_process("--replay", "b/sample.json", "--out", "c", model=None)[0] == 0
    with np.load("../out/a/sample.npz") as a, np.load("c/sample.npz") as c:
        assert (a["samples"] == c["samples"]).all()
    Path("../mine.npz").unlink()
    status, _, err = in_process("--replay", "../out/a/sample.json", "--out", "d", model=None)
    assert status == 2 and "mine.npz" in err


def test_a_replay_with_other_weights_or_versions_says_so(in_process, tmp_path) -> None:
    assert in_process("--out", "a", "--format", "npz")[0] == 0
    same = in_process("--replay", "a/sample.json", "--out", "b", model=None)
    assert "may differ" not in same[2]
    body = json.loads(Path("a/sample.json").read_text())
    body["made_with"]["model_sha256"] = "0" * 64
    body["made_with"]["versions"]["mlx"] = "0.1"
    body["made_with"]["cores"] = 1000
    Path("a/sample.json").write_text(json.dumps(body))
    status, _, err = in_process("--replay", "a/sample.json", "--out", "c", model=None)
    assert status == 0
    for part in ("bytes may differ", "network's weights are others", "mlx 0.1 then", "cores: 1000 then"):
        assert part in err
    assert len(json.loads(Path("c/sample.json").read_text())["replayed_with_other"]) == 3


@pytest.mark.parametrize("option", ["antithetic", "mirror"])
def test_pairs_and_a_mirror_are_asked_for_and_recorded(in_process, tmp_path, option) -> None:
    for name, *flag in (("own",), ("pair", f"--{option}"), ("alone", f"--no-{option}")):
        assert in_process("--out", name, "--format", "npz", *flag)[0] == 0
    made_with = {
        name: json.loads((tmp_path / name / "sample.json").read_text())["made_with"]
        for name in ("own", "pair", "alone")
    }
    assert {name: made[option] for name, made in made_with.items()} == {
        "own": False,
        "pair": True,
        "alone": False,
    }
    with np.load("own/sample.npz") as own, np.load("pair/sample.npz") as pair, np.load("alone/sample.npz") as alone:
        assert (own["samples"] == alone["samples"]).all()
        assert (own["samples"] != pair["samples"]).any()


def test_seeds_matter_and_zero_is_one(in_process) -> None:
    for seed in (0, 1):
        in_process("--out", f"s{seed}", "--format", "npz", "--seed", seed)
    in_process("--out", "both", "--format", "npz", "--samples", 2)
    with np.load("s0/sample.npz") as zero, np.load("s1/sample.npz") as one, np.load("both/sample.npz") as both:
        assert (zero["samples"] != one["samples"]).any()
        singles = np.concatenate([zero["samples"], one["samples"]]).astype(int)
        assert np.abs(singles - both["samples"]).max() <= 1  # a batch rounds a little differently


def test_hidden_frames_cannot_reach_the_prediction(in_process, tmp_path) -> None:
    clip = np.random.default_rng(0).integers(0, 255, (16, 64, 64, 3)).astype(np.uint8)
    for name, future in (("a", clip[8:]), ("b", 255 - clip[8:])):
        video.write_npz(tmp_path / f"{name}.npz", frames=np.concatenate([clip[:8], future]))
        in_process("--input", f"{name}.npz", "--out", name, "--format", "npz")
    with np.load("a/sample.npz") as a, np.load("b/sample.npz") as b:
        assert (a["samples"] == b["samples"]).all()


def test_own_clips_and_masks(in_process, tmp_path) -> None:
    clip = np.random.default_rng(0).integers(0, 255, (40, 90, 120, 3)).astype(np.uint8)
    video.write_gif(tmp_path / "clip.gif", clip, 10)
    mask = np.zeros((64, 64), np.uint8)
    mask[8:24, 30:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", (mask[::8, ::8] > 0) * np.ones((16, 1, 1)))
    status, out, _ = in_process(
        "--input", "clip.gif", "--start", 4, "--stride", 2, "--mask", "mask.png", "--json", "--out", "o"
    )
    assert status == 0
    assert set(json.loads(out)["metrics"]) == {"psnr"}
    assert in_process("--mask", "mask.npy", "--out", "o2")[0] == 0


def _mask(name, array):
    def make(folder: Path) -> list[str]:
        np.save(folder / name, array)
        return ["--mask", name]

    return make


def _file_as_out(folder: Path) -> list[str]:
    (folder / "taken").write_text("mine")
    return ["--out", "taken"]


def _short_gif(folder: Path) -> list[str]:
    video.write_gif(folder / "short.gif", np.zeros((5, 32, 32, 3), np.uint8), 10)
    return ["--input", "short.gif"]


BAD = {
    "no given frames": ["--given", 0],
    "all frames given": ["--given", 16],
    "given for a task without": ["--task", "spatial", "--given", 4],
    "unknown task": ["--task", "foresee"],
    "unknown scenario": ["--scenario", "billiards"],
    "unknown sampler": ["--sampler", "magic"],
    "unfit sampler": ["--sampler", "ddpm"],
    "no steps": ["--steps", 0],
    "no samples": ["--samples", 0],
    "eta with another sampler": ["--sampler", "heun", "--eta", 0.5],
    "eta out of range": ["--eta", 1.5],
    "pairs with another sampler": ["--sampler", "heun", "--no-antithetic"],
    "a mirror with another sampler": ["--sampler", "heun", "--mirror"],
    "stride without input": ["--stride", 2],
    "scene with input": ["--input", "x.gif", "--scene-seed", 1],
    "given with mask": ["--mask", "x.png", "--given", 4],
    "scenario for unconditional": ["--task", "unconditional", "--scenario", "collide"],
    "missing input": ["--input", "nothing.gif"],
    "missing mask": ["--mask", "nothing.png"],
    "missing replay": ["--replay", "nothing.json"],
    "unknown format": ["--format", "avi"],
    "tiny autoencoder that is not there": ["--autoencoder", "tiny"],
    "out is a file": _file_as_out,
    "short gif": _short_gif,
    "mask all zero": _mask("zero.npy", np.zeros((64, 64))),
    "mask of another size": _mask("size.npy", np.ones((30, 64))),
    "mask with other frames": _mask("frames.npy", np.ones((5, 64, 64))),
    "mask of text": _mask("text.npy", np.array(["a", "b"])),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(in_process, tmp_path, name) -> None:
    case = BAD[name]
    arguments = case(tmp_path) if callable(case) else case
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    status, out, err = in_process(*arguments)
    assert status == 2
    assert out == ""
    assert err.strip().splitlines()[-1].startswith("Error: ")
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == before


def test_unknown_model(in_process) -> None:
    status, _, err = in_process("--model", "nonesuch", model=None)
    assert status == 2
    assert "physics" in err


def test_a_network_of_nan_is_named(tiny_checkpoint, in_process, tmp_path) -> None:
    import shutil

    import mlx.core as mx

    folder = shutil.copytree(tiny_checkpoint, tmp_path / "nan")
    weights = dict(mx.load(str(folder / "vdt.safetensors")))
    weights["final_layer.linear.bias"] = weights["final_layer.linear.bias"] * float("nan")
    mx.eval(weights)
    mx.save_safetensors(str(folder / "vdt.safetensors"), weights)
    status, _, err = in_process(model=folder)
    assert status == 2
    assert "NaN" in err


@pytest.mark.parametrize("wait", [0.0, 0.1, 0.3, 1.0])
def test_ctrl_c_leaves_nothing(tiny_checkpoint, tmp_path, wait) -> None:
    """At any moment: while modules are imported, while weights are read, while it samples."""
    command = [
        sys.executable,
        "-m",
        "vdt_mlx",
        "sample",
        "--model",
        str(tiny_checkpoint),
        "--steps",
        "1000",
        "--samples",
        "16",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "vdt-out").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # Python itself dies of the signal, which shells call 130 too, if an extension module's import had been interrupted.
    assert process.returncode in (130, -signal.SIGINT)
    assert "Interrupted." in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("slow_clean_up", [False, True])
def test_a_lost_ctrl_c_is_sent_again_and_a_clean_up_is_not_cut_short(monkeypatch, capsys, slow_clean_up) -> None:
    from vdt_mlx import cli

    monkeypatch.setattr(cli, "LOST_AFTER", 0.1)
    reached = []

    @contextlib.contextmanager
    def cleaned_up():
        try:
            yield
        finally:
            if slow_clean_up:
                try:
                    raise OSError
                except OSError:
                    time.sleep(0.5)
            reached.append("clean")

    @click.command()
    def command() -> None:
        with cleaned_up():
            if not slow_clean_up:
                with contextlib.suppress(KeyboardInterrupt):  # as C code that clears what a call left behind
                    os.kill(os.getpid(), signal.SIGINT)
                time.sleep(30)
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("the end")

    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        cli.run(command, args=[])
    assert ended.value.code == 130
    assert reached == ["clean"]
    assert time.monotonic() - began < 10
    assert "Interrupted." in capsys.readouterr().err
    time.sleep(0.2)  # nothing is sent any more
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_json_is_the_only_thing_on_standard_output(tiny_checkpoint, tmp_path) -> None:
    ended = vdt_mlx("sample", "--model", tiny_checkpoint, "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    json.loads(ended.stdout)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [["sampel"], ["--nonsense"], ["sample", "--nonsense"]])
def test_unknown_commands_and_flags(arguments, tmp_path) -> None:
    ended = vdt_mlx(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert "Error" in ended.stderr
    assert "Traceback" not in ended.stderr
