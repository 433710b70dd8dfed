"""`mlx.launch -n 2`: of the autoencoder one process trains, and the other has nothing to do."""

import subprocess
import sys
from pathlib import Path

import pytest
from training_runs import losses

from vdt_mlx.training import state as saving


@pytest.mark.parametrize("backend", ["ring"])
def test_an_autoencoder_under_launch_is_the_one_of_a_single_process(backend, problem, tmp_path) -> None:
    out = tmp_path / "two"
    launch = [Path(sys.executable).parent / "mlx.launch", "-n", "2", "--backend", backend, "--python", sys.executable]
    train = ["-m", "vdt_mlx", "train", "autoencoder", "--config", problem["config"], "--out", str(out)]
    done = subprocess.run([*map(str, launch), *train], capture_output=True, text=True, timeout=240)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said and "Error" not in said
    one = Path(problem["autoencoder"]).parent
    assert losses(out) == losses(one)
    assert (out / "checkpoint" / "autoencoder.safetensors").read_bytes() == (
        one / "checkpoint" / "autoencoder.safetensors"
    ).read_bytes()
    assert saving.load_state(out)[0] == 4
