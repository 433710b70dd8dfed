"""What is recorded of the machine, and which device is chosen."""

import json
import os
import subprocess
import sys

import mlx.core as mx
import pytest

from vdt_mlx.device import about, choice
from vdt_mlx.errors import VDTError


def test_what_is_described_can_be_written_down(cpu) -> None:
    found = about.describe()
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == "cpu"
    assert found["mlx"] == mx.__version__
    assert found["tf32"] is False  # no CPU shortens a product
    assert found["chip"]


def test_a_gpu_is_described(monkeypatch) -> None:
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    monkeypatch.setattr(mx, "device_info", lambda device: {"device_name": "Apple M5"})
    monkeypatch.setenv("MLX_ENABLE_TF32", "0")
    found = about.describe()
    assert (found["device"], found["chip"], found["tf32"]) == ("gpu", "Apple M5", False)
    assert "openblas" not in found
    assert about.machine_line().endswith("Apple M5")


def test_a_device_that_tells_nothing(monkeypatch) -> None:
    def nothing(_device):
        raise RuntimeError("no such device")

    monkeypatch.setattr(mx, "device_info", nothing)
    assert about.device_info() == {}
    assert about.chip()


@pytest.mark.parametrize("name", ["tpu", "", "CPU "])
def test_names_of_devices(name: str) -> None:
    with pytest.raises(VDTError, match="cpu or gpu"):
        choice.choose(name)


def test_a_gpu_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setattr(mx, "is_available", lambda device: False)
    monkeypatch.setenv(choice.VARIABLE, "GPU")
    with pytest.raises(VDTError, match=r"VDT_DEVICE is 'gpu'\. MLX finds no GPU"):
        choice.follow_environment()


def test_the_environment_chooses_the_device_of_a_command() -> None:
    code = "import vdt_mlx.network.vdt, mlx.core as mx; print(mx.default_device().type == mx.cpu)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "VDT_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"


def test_a_wrong_name_in_the_environment_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vdt_mlx", "sample", "--out", "unused"],
        env={**os.environ, "VDT_DEVICE": "npu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "Error: The environment variable VDT_DEVICE is 'npu'. A device is cpu or gpu, not 'npu'.\n"
