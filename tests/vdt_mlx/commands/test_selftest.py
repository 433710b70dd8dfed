"""The self-test passes here, and would notice a fault."""

import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from click.testing import CliRunner

from vdt_mlx import kernel_parity
from vdt_mlx import parity as selftest
from vdt_mlx.commands import selftest as command
from vdt_mlx.config import VDTConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network.vdt import VDT


@pytest.fixture(scope="module")
def recorded() -> selftest.Recorded:
    return command.read_recorded()


@pytest.fixture(scope="module")
def verdicts(recorded) -> list[selftest.Verdict]:
    return selftest.climb(recorded)


def test_every_rung_holds_in_every_dtype(verdicts) -> None:
    assert [v for v in verdicts if not v.passed] == []
    rungs = {dtype: [v.rung for v in verdicts if v.dtype == dtype] for dtype in ("fp32", "fp16", "bf16")}
    assert rungs["fp16"] == rungs["bf16"] == rungs["fp32"][:6]
    assert len(rungs["fp32"]) == 10
    assert min(v.difference for v in verdicts if v.dtype != "fp32") > 0  # they were computed in what they say


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("t_embedder.mlp.2.bias", "embeddings"),
        ("blocks.0.temporal_attn.qkv.weight", "block"),
        ("final_layer.linear.bias", "network"),
        ("blocks.1.mlp.fc2.bias", "sampler, predict"),
    ],
)
def test_a_fault_is_noticed(recorded, monkeypatch, name, broken) -> None:
    monkeypatch.setattr(selftest, "DTYPES", {"fp32": mx.float32})
    faulty = replace(recorded, network={**recorded.network, name: recorded.network[name] + 0.01}, autoencoders={})
    wrong = [v.rung for v in selftest.climb(faulty) if not v.passed]
    assert wrong[0] == broken or broken in wrong


def test_nan_is_a_fault() -> None:
    assert not selftest.Verdict("network", "fp32", float("nan"), 1e-4, 0.0).passed


def test_timings_count_their_arithmetic(monkeypatch) -> None:
    small = VDTConfig(hidden_size=32, depth=1, num_heads=2, latent_size=(4, 4), num_frames=2)
    monkeypatch.setattr(selftest, "TIMED", {"small": (small, 1)})
    times = selftest.timings(rounds=1)
    assert [t.name for t in times if "small" in t.name] == ["small, fp32", "small, fp16"]
    assert all(t.seconds > 0 and t.gflops_per_second > 0 for t in times)


def test_command(cpu, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(selftest, "DTYPES", {"fp32": mx.float32})
    out = tmp_path / "report.json"
    result = CliRunner().invoke(command.selftest, ["--no-timings", "--out", str(out)], standalone_mode=False)
    assert result.return_value == 0
    body = json.loads(out.read_text())
    assert body["passed"]
    assert body["timings"] == []
    assert any("GPU" in line for line in body["not_run"])
    assert "WRONG" not in result.output


def test_command_ends_with_1_on_a_fault(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(selftest, "DTYPES", {"fp32": mx.float32})
    monkeypatch.setattr(VDT, "__call__", lambda self, x, t, *given: mx.zeros((*x.shape[:-1], 8)))
    out = tmp_path / "report.json"
    result = CliRunner().invoke(command.selftest, ["--no-timings", "--out", str(out)], standalone_mode=False)
    assert result.return_value == 1
    assert "WRONG" in result.output
    wrong = [v["rung"] for v in json.loads(out.read_text())["verdicts"] if not v["passed"]]
    assert wrong[:4] == ["network", "network, compiled", "sampler, predict", "sampler, spatial"]


def test_the_default_file_lies_where_git_ignores_it() -> None:
    (option,) = (option for option in command.selftest.params if option.name == "out")
    folder = Path(option.default).parts[0]
    ignored = (Path(__file__).parents[3] / ".gitignore").read_text().splitlines()
    assert f"/{folder}/" in ignored


def test_what_differs_from_usual_is_said() -> None:
    usual = {"MLX_ENABLE_TF32": "0", "MLX_BFS_MAX_WIDTH": "1000", "HOME": "/root", "VDT_TEST_DEVICE": "cpu"}
    assert command.differing_settings(usual) == []
    changed = {**usual, "MLX_ENABLE_TF32": "1", "AGX_RELAX_CDM_CTXSTORE_TIMEOUT": "1", "VDT_BLAS": "none"}
    assert command.differing_settings(changed) == [
        "AGX_RELAX_CDM_CTXSTORE_TIMEOUT=1",
        "MLX_ENABLE_TF32=1",
        "VDT_BLAS=none",
    ]


def test_training_is_reported(cpu, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(selftest, "DTYPES", {"fp32": mx.float32})
    monkeypatch.setattr(kernel_parity, "checks", list)
    monkeypatch.setattr(command, "in_a_process", lambda seconds, device: {"failed": f"after {seconds:g} s"})
    out = tmp_path / "deep" / "report.json"
    arguments = ["--no-timings", "--train", "2m", "--out", str(out)]
    result = CliRunner().invoke(command.selftest, arguments, standalone_mode=False)
    assert result.return_value == 1
    assert "training ended: after 120 s" in result.output
    assert json.loads(out.read_text())["training"] == {"failed": "after 120 s"}


def test_bad_requests(tmp_path, monkeypatch) -> None:
    def refusal(*arguments: str) -> str:
        result = CliRunner().invoke(command.selftest, list(arguments))
        assert isinstance(result.exception, VDTError)
        return str(result.exception)

    assert "a folder" in refusal("--out", str(tmp_path))
    monkeypatch.setattr(command, "PACKAGED", tmp_path)
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    assert "missing" in refusal("--out", str(tmp_path / "x.json"))
    if not mx.is_available(mx.gpu):
        assert "no GPU" in refusal("--device", "gpu", "--out", str(tmp_path / "x.json"))


def test_recorded_numbers_are_those_of_the_network(recorded) -> None:
    assert recorded.arrays["y"].shape == (2, 8, 8, 8, 8)
    assert recorded.arrays["tokens"].shape == (2, 8, 16, 64)
    assert np.isfinite(recorded.arrays["block"]).all()
