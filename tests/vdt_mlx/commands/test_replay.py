"""A replay with other weights, versions or arithmetic says so."""

import shutil

import pytest

from vdt_mlx.commands.replay import differences, made_with
from vdt_mlx.config import VDT_FILE


@pytest.fixture
def now(tiny_checkpoint):
    return made_with(tiny_checkpoint)


def test_the_same_has_nothing_to_say(now):
    assert differences(now, now) == []
    assert now["model_sha256"] and now["autoencoder_sha256"] and now["cores"] >= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda then: then.update(model_sha256="0" * 64), "the network's weights are others"),
        (lambda then: then.update(autoencoder_sha256="0" * 64), "the autoencoder's weights are others"),
        (lambda then: then.update(cores=97), "processor cores: 97 then"),
        (lambda then: then["versions"].update(mlx="0.1"), "mlx 0.1 then"),
        (lambda then: then["versions"].update(numpy="1.0"), "numpy 1.0 then"),
        (lambda then: then["machine"].update(openblas="other"), "OpenBLAS: other then"),
        (lambda then: then["machine"].update(chip="Apple M9"), "chip: Apple M9 then"),
        (lambda then: then["machine"].update(device="npu"), "device: npu then"),
    ],
)
def test_every_difference_is_named(change, said, now):
    then = {**now, "versions": dict(now["versions"]), "machine": {"openblas": True, **now["machine"]}}
    change(then)
    current = {**now, "machine": {"openblas": True, **now["machine"]}}
    (found,) = differences(then, current)
    assert found.startswith(said)


@pytest.mark.parametrize("before", [None, [], "x", {}, {"versions": 3, "machine": None}, {"steps": 4, "cores": None}])
def test_old_and_foreign_files(before, now):
    assert len(differences(before, now)) <= 1


def test_other_weights(tiny_checkpoint, tmp_path, now):
    other = shutil.copytree(tiny_checkpoint, tmp_path / "other")
    data = bytearray((other / VDT_FILE).read_bytes())
    data[-1] ^= 1
    (other / VDT_FILE).write_bytes(data)
    assert differences(now, made_with(other)) == ["the network's weights are others"]
