"""PSNR and SSIM of clips: closed forms."""

import numpy as np
import pytest

from vdt_mlx.frame_score import C1, C2, score_frames, ssim
from vdt_mlx.pair_score import copy_last


def flat(value: int, side: int = 32) -> np.ndarray:
    return np.full((2, side, side, 3), value, np.uint8)


@pytest.mark.parametrize("side", [8, 11, 32])
def test_ssim_of_even_frames_is_that_of_their_brightness(side: int) -> None:
    assert ssim(flat(90, side), flat(90, side)) == pytest.approx(1)
    expected = (2 * 90 * 140 + C1) / (90**2 + 140**2 + C1)
    assert ssim(flat(90, side), flat(140, side)) == pytest.approx(expected, abs=1e-9)


def test_ssim_falls_with_noise_and_is_negative_for_a_negative() -> None:
    noise = np.random.default_rng(0).normal(0, 40, (2, 48, 48, 3))
    clean = np.clip(128 + noise, 0, 255).astype(np.uint8)
    values = [ssim(np.clip(clean + share * noise[::-1], 0, 255).astype(np.uint8), clean) for share in (0, 0.2, 0.6, 2)]
    assert values[0] == pytest.approx(1) and values == sorted(values, reverse=True) and values[-1] > 0
    assert ssim(255 - clean, clean) < -0.5


def test_ssim_of_one_window_is_the_formula() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 255, (2, 11, 11, 3)).astype(float)
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line)[..., None] / line.sum() ** 2
    mean_x, mean_y = (window * x).sum((0, 1)), (window * y).sum((0, 1))
    var_x, var_y = (window * (x - mean_x) ** 2).sum((0, 1)), (window * (y - mean_y) ** 2).sum((0, 1))
    both = (window * (x - mean_x) * (y - mean_y)).sum((0, 1))
    expected = (2 * mean_x * mean_y + C1) * (2 * both + C2) / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))
    assert ssim(x.astype(np.uint8), y.astype(np.uint8)) == pytest.approx(expected.mean(), abs=1e-9)


def test_scores_stand_beside_repeating_the_last_frame() -> None:
    truth = np.random.default_rng(0).integers(0, 255, (2, 8, 24, 24, 3), np.uint8)
    perfect = score_frames(truth, truth)
    assert (perfect["psnr"], perfect["ssim"], perfect["clips"]) == (100, 1, 2)
    copied = score_frames(truth, copy_last(truth))
    assert copied["psnr"] == perfect["copy_last_psnr"] and copied["ssim"] == perfect["copy_last_ssim"] < 0.2
