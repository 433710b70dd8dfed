"""A tiny checkpoint with random weights, for everything that runs a model without caring how well."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A checkpoint folder for 64-pixel clips of 16 frames that samples in a second."""
    from tests.tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("checkpoint") / "tiny", spread=0.05)


@pytest.fixture(scope="module")
def uncompiled():
    """Compiling the kernels takes a C++ compiler longer than all of these runs; the slow tests do compile."""
    import mlx.core as mx

    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.fixture(scope="module")
def problem(uncompiled, tmp_path_factory) -> dict[str, str]:
    """See `training_runs.make_problem`."""
    from training_runs import make_problem

    return make_problem(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def whole_run(problem, tmp_path_factory) -> Path:
    """A run of 8 steps that nothing disturbed."""
    from training_runs import start

    out = tmp_path_factory.mktemp("whole") / "run"
    start(problem, out)
    return out


@pytest.fixture
def small_network():
    """A VDT of `training_runs.SMALL` with random weights."""
    import mlx.core as mx
    from training_runs import SMALL

    from vdt_mlx.network.vdt import VDT

    mx.random.seed(4)
    model = VDT(SMALL)
    # The untrained output layer is zero, and what becomes of it could not be seen.
    model.final_layer.linear.weight = mx.random.normal(model.final_layer.linear.weight.shape) * 0.1
    return model
