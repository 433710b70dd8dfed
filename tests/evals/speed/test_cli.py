"""The measurements of speed: that they measure what they say, and refuse what they cannot."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from evals.speed import growth as speed_growth
from evals.speed import network as speed_network
from evals.speed import quality as speed_quality
from evals.speed.cli import speed
from evals.speed.output import Chart, alternate, quartiles
from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import VDTConfig, read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.network.vdt import VDT

SMALL = VDTConfig(hidden_size=32, depth=1, num_heads=2, latent_size=(8, 8), learn_sigma=False)


@pytest.fixture
def small_preset(monkeypatch) -> None:
    monkeypatch.setattr(speed_growth, "PRESETS", {"small": SMALL})
    monkeypatch.setattr(speed_network, "CASES", {"small": speed_network.Case("small", SMALL, 2)})


def run(tmp_path, *arguments: str) -> dict:
    result = CliRunner().invoke(speed, [*arguments, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    for path in tmp_path.glob("*.svg"):
        ElementTree.parse(path)
    return json.loads((tmp_path / f"{arguments[0]}.json").read_text())


def test_torch_twin_computes_the_same() -> None:
    torch = pytest.importorskip("torch")

    from evals.speed.torch_twin import with_weights

    config = VDTConfig(hidden_size=48, depth=2, num_heads=4, latent_size=(4, 8), num_frames=5)
    model = VDT(config)
    model.load_weights([(k, v + 0.05 * mx.random.normal(v.shape)) for k, v in flat_parameters(model).items()])
    x, t = mx.random.normal((2, 5, 4, 8, 4)), mx.array([3.0, 700.0])
    twin = with_weights(config, flat_parameters(model))
    theirs = twin(torch.from_numpy(np.moveaxis(np.array(x), -1, 2).copy()), torch.from_numpy(np.array(t)))
    assert np.abs(np.moveaxis(theirs.detach().numpy(), 2, -1) - np.array(model(x, t))).max() <= 1e-4


def test_network(small_preset, tmp_path) -> None:
    body = run(tmp_path, "network", "small", "--rounds", "2", "--no-compile")
    forward, training = body["cases"]
    assert forward["part"] == "forward"
    assert training["gflops"] == 3 * forward["gflops"]
    assert len(forward["all_seconds"]["mlx"]) == 2
    for case in body["cases"]:
        assert case["gflops_per_second"] == pytest.approx(case["gflops"] / case["seconds"][case["best"]])
        assert case["share_of_rate"] == pytest.approx(case["gflops_per_second"] / case["product_gflops_per_second"])


@pytest.mark.parametrize("torch", [False, True])
def test_the_table_has_columns_for_what_was_timed(torch) -> None:
    """Without PyTorch there are no dashes, and a hint."""
    seconds = {"mlx": 0.02, "lanes": 0.01, **({"torch": 0.04} if torch else {})}
    result = {"title": "small", "part": "forward", "seconds": seconds, "gflops_per_second": 5.0, "share_of_rate": 0.5}
    result |= {"ratio": {"median": 0.25, "low": 0.2, "high": 0.3}} if torch else {}
    table = speed_network._table([result], 2)
    assert ("pip install torch" in table.title) != torch and ("PyTorch ms" in table.columns) == torch
    assert [len(row) for row in table.rows] == [len(table.columns)] and None not in table.rows[0]


def test_samplers(checkpoint, tmp_path) -> None:
    body = run(
        tmp_path,
        "samplers",
        "--model",
        checkpoint,
        "--clips",
        "1",
        "--batch",
        "1",
        "--calls",
        "1,8",
        "--reference",
        "5",
    )
    assert body["reference"]["sampler"] == "heun"
    assert body["reference"]["calls"] == 5
    assert {(row["name"], row["calls"]) for row in body["rows"]} == {
        *((name, calls) for name in ("dpm++", "unipc", "euler", "euler, eta 1") for calls in (1, 8)),
        *(("heun", calls) for calls in (1, 7)),
        *((f"euler{more}, by 4", 8) for more in ("", ", eta 1", ", eta 1, pairs", ", eta 1, pairs, mirror")),
        ("euler, eta 1, pairs, mirror", 8),
    }
    one_call = {row["ade"] for row in body["rows"] if row["calls"] == 1}
    assert len(one_call) == 1  # the same noise, and one step is the same step for every sampler


def row(
    calls: int, ade: float, presence: float = 0.99, identity: float = 0.95, contact: float = 0.9
) -> dict[str, float]:
    return {"calls": calls, "ade": ade, "presence": presence, "identity_kept": identity, "contact": contact}


@pytest.mark.parametrize(
    ("rows", "calls"),
    [
        ([row(1, 9.0), row(4, 2.05), row(8, 2.0), row(20, 1.97), row(50, 1.0)], 4),
        ([row(2, 2.0), row(4, 1.7), row(8, 1.65)], 4),
        ([row(1, 9.0), row(20, 3.0), row(8, 3.5), row(50, 2.0)], 20),
        ([row(8, 2.04), row(8, 2.0)], 8),
        ([row(1, 1.9, presence=0.96), row(2, 1.9, identity=0.92), row(4, 1.9, 0.975, 0.935), row(8, 1.85)], 4),
        ([row(2, 1.9, contact=0.87), row(4, 2.0, contact=0.89)], 4),
    ],
)
def test_the_default_follows_from_the_curve(rows, calls) -> None:
    chosen = speed_quality.choose(rows, row(250, 2.0))
    assert chosen["calls"] == calls
    assert chosen["ade"] == min(r["ade"] for r in rows if r["calls"] == calls)


def test_nothing_to_choose_from() -> None:
    with pytest.raises(VDTError, match="at most 20"):
        speed_quality.choose([row(50, 1.0)], row(250, 1.0))


def test_quantization(checkpoint, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(speed_quality, "PRECISIONS", (("fp32", None), ("fp16", None), ("fp32", 8)))
    body = run(tmp_path, "quantization", "--model", checkpoint, "--clips", "2")
    wide, half, packed = body["rows"]
    assert half["bytes"] * 2 == wide["bytes"]
    assert packed["bytes"] < wide["bytes"]
    assert half["psnr_to_fp32"] > 40


def test_rollout(checkpoint, tmp_path) -> None:
    body = run(tmp_path, "rollout", "--model", checkpoint, "--clips", "2", "--frames", "20")
    assert [row["frame"] for row in body["rows"]] == list(range(9, 21))


def test_growth(small_preset, tmp_path) -> None:
    body = run(
        tmp_path,
        "growth",
        "--preset",
        "small",
        "--frames",
        "4,8",
        "--pixels",
        "32,64",
        "--batches",
        "1,4",
        "--rounds",
        "1",
    )
    assert {row["tokens"] for row in body["rows"] if row["growing"] == "frames"} == {64, 128}
    assert 0.5 < body["exponents"]["batch"]["bytes"] < 1.5  # a tiny network; a quadratic would give 2


def test_memory(small_preset, tmp_path) -> None:
    body = run(tmp_path, "memory", "--preset", "small", "--bits", "8", "--autoencoder", "tiny")
    (row,) = body["rows"]
    assert row["low_memory"]
    assert row["peak"] > row["checkpoint"]


@pytest.mark.parametrize("kind", ["kl", "tiny"])
def test_random_checkpoints_fit_together(tmp_path, kind) -> None:
    """The autoencoder gives as many channels as the network takes, which are 12 in the shipped model's shape."""
    config = replace(SMALL, in_channels=12)
    assert speed_growth.write_random(tmp_path / kind, config, 32, kind) > 0
    made = read_config(tmp_path / kind)
    assert made.autoencoder is not None and made.autoencoder.latent_channels == made.vdt.in_channels == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["network", "VDT-XL"], "VDT-S/2"),
        (["growth", "--preset", "huge"], "Unknown preset"),
        (["growth", "--pixels", "100"], "do not divide"),
        (["samplers", "--model", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input(tmp_path, arguments, words) -> None:
    result = CliRunner().invoke(speed, [*arguments, "--out", str(tmp_path)])
    assert isinstance(result.exception, VDTError)
    assert words in str(result.exception)


def test_numbers_that_are_none(tmp_path) -> None:
    for value in ("1,x", "0,4"):
        result = CliRunner().invoke(speed, ["samplers", "--calls", value, "--out", str(tmp_path)])
        assert result.exit_code == 2
        assert value in result.output


def test_alternate_takes_turns() -> None:
    order: list[str] = []
    seconds = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b", "a", "b", "a", "b"]  # the first of each warms up
    assert [len(values) for values in seconds.values()] == [2, 2]
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (3.0, 2.0, 4.0)


@pytest.mark.parametrize("log", [False, True])
def test_charts_show_what_they_are_given(log, tmp_path) -> None:
    chart = Chart("a < b", "x", "y", {"one": [(1, 2.0), (10, 4.0)], "two": [(1, 3.0)]}, log, log, ("level", 1.5))
    chart.save([tmp_path / "chart.svg", tmp_path / "chart.png"])
    root = ElementTree.parse(tmp_path / "chart.svg").getroot()
    lines = [e for e in root.iter("{http://www.w3.org/2000/svg}g") if (e.get("id") or "").startswith("line2d")]
    assert len(lines) > 3
    pixels = np.asarray(Image.open(tmp_path / "chart.png").convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    Chart("flat", "x", "y", {"one": [(4, 2.0)]}, log, log).save([tmp_path / "flat.svg"])


def test_every_line_of_a_chart_has_its_own_colour() -> None:
    for count in (3, 10, 17):
        chart = Chart("many", "x", "y", {str(i): [(1, float(i))] for i in range(count)})
        assert len({tuple(chart._colour(i)) for i in range(count)}) == count
