"""A tiny checkpoint for what measures models."""

import pytest


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory) -> str:
    """A folder with random weights for 64-pixel clips of 16 frames."""
    from tests.tiny_models import save_tiny

    return str(save_tiny(tmp_path_factory.mktemp("speed") / "model"))
