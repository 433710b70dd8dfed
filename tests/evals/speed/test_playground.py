"""The playground's measurement: it dreams through a server of its own, and what it says comes from there."""

import json

import pytest
from click.testing import CliRunner

from evals.speed.cli import speed


def test_dreams_are_timed_beside_the_library(checkpoint, tmp_path) -> None:
    pytest.importorskip("uvicorn")
    arguments = ["play", "--model", checkpoint, "--dreams", "3", "--pairs", "2", "--no-browser"]
    result = CliRunner().invoke(speed, [*arguments, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    body = json.loads((tmp_path / "play.json").read_text())
    assert len(body["seconds"]) == len(body["memory_mib"]) == 3 and len(body["library_seconds"]) == 2
    assert all(0 < first <= whole for first, whole in zip(body["preview_seconds"], body["seconds"], strict=True))
    assert min(body["memory_mib"]) > 50 and "server / library (median of pairs)" in body["measured"]
