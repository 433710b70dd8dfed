"""Shared by all tests: where the golden files are, and the networks that they hold."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import vdt_mlx  # noqa: F401 (its OpenBLAS must come before anything here imports mlx.core)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore Ctrl-C, and so would the commands that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

DEVICE = os.environ.get("VDT_TEST_DEVICE", "")
"""The device of the whole suite: `cpu` or `gpu` (by default the one that MLX prefers), or `pretended-gpu`: the forms
that the code has for a GPU, computed by the CPU."""

GOLDEN = Path(__file__).parent / "golden"

# name: (checkpoint file, its configuration); the heads cannot be read off the tensors
NETWORKS = {
    "vdt_tiny": ("vdt_tiny.pt", {"hidden_size": 64, "depth": 2, "num_heads": 4, "num_frames": 8}),
    "vdt_head72": ("vdt_head72.pt", {"hidden_size": 144, "depth": 1, "num_heads": 2, "num_frames": 16}),
}


def pytest_configure(config: pytest.Config) -> None:
    if DEVICE in ("cpu", "gpu"):
        os.environ["VDT_DEVICE"] = DEVICE  # for the commands that tests start, too
        from vdt_mlx.device.choice import follow_environment

        follow_environment()
    elif DEVICE == "pretended-gpu":
        import mlx.core as mx

        mx.default_device = lambda: mx.Device(mx.gpu)
    elif DEVICE:
        raise pytest.UsageError(f"VDT_TEST_DEVICE is cpu, gpu or pretended-gpu, not {DEVICE!r}.")


_TYPES = pytest.StashKey["subprocess.Popen[str]"]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Types are checked beside the other tests, most of which leave a core free: that takes the longest of all."""
    first = getattr(session.config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0"  # of several processes
    asked = any(item.name == "test_types" for item in session.items) and not session.config.option.collectonly
    if first and asked:
        session.config.stash[_TYPES] = _mypy()


def _mypy() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mypy"]
    return subprocess.Popen(
        command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    process = config.stash.get(_TYPES, None)
    if process is not None and process.poll() is None:
        process.kill()
        process.communicate()


@pytest.fixture
def mypy(pytestconfig: pytest.Config) -> "subprocess.Popen[str]":
    """mypy on the packages, begun with the first test, or now in a process that began none."""
    if _TYPES not in pytestconfig.stash:
        pytestconfig.stash[_TYPES] = _mypy()
    return pytestconfig.stash[_TYPES]


@pytest.fixture
def cpu(monkeypatch) -> Iterator[None]:
    """The CPU, and the forms that the code has for it, whatever this machine has and the suite runs on."""
    import mlx.core as mx

    device = mx.Device(mx.cpu)
    before = mx.default_device()
    mx.set_default_device(device)
    monkeypatch.setattr(mx, "default_device", lambda: device)
    yield
    if mx.is_available(before):
        mx.set_default_device(before)


@pytest.fixture
def gpu_forms() -> Iterator[None]:
    """What the code does on a GPU, computed by whatever this machine has: there the two must agree."""
    from vdt_mlx.device.kernels import forms

    with forms("gpu"):
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """MLX's own generator begins with the time of day otherwise."""
    import mlx.core as mx

    mx.random.seed(0)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of what the official release computes."""
    return GOLDEN


@pytest.fixture(scope="session")
def golden_vdt() -> Callable:
    """`golden_vdt(name)` -> (the network, its recorded arrays with channels last)."""
    import mlx.core as mx

    from vdt_mlx.config import VDTConfig
    from vdt_mlx.network.vdt import VDT
    from weights.formats.source import open_source
    from weights.formats.tensors import to_float32

    def load(name: str) -> tuple[VDT, dict[str, np.ndarray]]:
        file, sizes = NETWORKS[name]
        model = VDT(VDTConfig(**sizes, latent_size=(8, 8)))
        weights = []
        with open_source(GOLDEN / file) as source:
            for key, tensor in source.tensors.items():
                value = to_float32(np.array(tensor.array()), tensor.dtype)
                weights.append((key, mx.array(value.transpose(0, 2, 3, 1) if value.ndim == 4 else value)))
        model.load_weights(weights)
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            return model, {key: channels_last(arrays[key]) for key in arrays.files}

    return load


def channels_last(array: np.ndarray) -> np.ndarray:
    """The official (..., C, H, W) latents as (..., H, W, C); anything else as it is."""
    return np.moveaxis(array, -3, -1) if array.ndim >= 5 else array
