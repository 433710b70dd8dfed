"""The analytic count of operations against what a walk over the network's own layers adds up."""

from dataclasses import replace

import pytest

from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import PRESETS, VDTConfig
from vdt_mlx.network.flops import flops, parameters
from vdt_mlx.network.vdt import VDT

CONFIG = VDTConfig(hidden_size=16, depth=3, num_heads=2, latent_size=(4, 8), num_frames=5, mlp_ratio=2.5)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, learn_sigma=False, num_classes=7)])
def test_parameters(config):
    assert parameters(config) == sum(value.size for value in flat_parameters(VDT(config)).values())


def test_flops_from_the_weights():
    """Each weight multiplies once a token, those of the conditioning once a clip; attention has none and is added."""
    batch, tokens, frames = 2, 8, 5
    counted = 0
    for name, value in flat_parameters(VDT(CONFIG)).items():
        if not name.endswith(".weight") or value.ndim < 2 or name.startswith("y_embedder."):
            continue  # biases, norms, and rows that are looked up
        once_a_clip = "adaLN_modulation" in name or name.startswith("t_embedder.")
        counted += 2 * value.size * batch * (1 if once_a_clip else frames * tokens)
    for attended, others in ((frames, tokens), (tokens, frames)):
        for _ in range(CONFIG.num_heads):
            scores = attended * attended * others  # q k', each a sum over the head; the weighted sum costs the same
            counted += CONFIG.depth * batch * 2 * 2 * scores * (CONFIG.hidden_size // CONFIG.num_heads)
    assert counted == flops(CONFIG, batch=batch)


def test_known_values():
    assert flops(PRESETS["VDT-L/2"]) == pytest.approx(5319.55e9, rel=1e-5)
    assert flops(PRESETS["VDT-S/2"], frames=32) > 2 * flops(PRESETS["VDT-S/2"])
    assert flops(PRESETS["VDT-S/2"], latent_size=(32, 32)) > 4 * flops(PRESETS["VDT-S/2"])
