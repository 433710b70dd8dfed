"""How alike frames are as pictures: PSNR and SSIM, for clips in which no objects are known."""

from typing import Any

import numpy as np

from vdt_mlx.pair_score import copy_last, psnr

SIGMA, REACH = 1.5, 5
"""Of SSIM's Gaussian window, pixels: 11 x 11 (Wang et al. 2004, section III.C)."""
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(frames: np.ndarray, truth: np.ndarray) -> float:
    """Mean structural similarity (Wang, Bovik, Sheikh & Simoncelli 2004) of frames (..., H, W, 3) uint8: 1 is equal.

    Each channel on its own, over the pixels whose window lies inside the frame, or all of a frame that is smaller.
    """
    from scipy.ndimage import gaussian_filter

    axes = (-3, -2)

    def blurred(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, SIGMA, axes=axes, radius=REACH)

    x, y = frames.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = blurred(x), blurred(y)
    variance_x, variance_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    alike /= (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    height, width = x.shape[-3], x.shape[-2]
    if min(height, width) > 2 * REACH:
        alike = alike[..., REACH : height - REACH, REACH : width - REACH, :]
    return float(alike.mean())


def score_frames(truth: np.ndarray, predicted: np.ndarray, given: int | None = None) -> dict[str, Any]:
    """PSNR (dB) and SSIM of the predicted frames of clips (N, T, H, W, 3), uint8, beside repeating the last."""
    given = truth.shape[1] // 2 if given is None else given
    future = truth[:, given:]
    ours, copied = predicted[:, given:], copy_last(truth, given)[:, given:]
    return {
        "clips": len(truth),
        "psnr": round(float(np.mean([psnr(a, b) for a, b in zip(ours, future, strict=True)])), 2),
        "ssim": round(ssim(ours, future), 4),
        "copy_last_psnr": round(float(np.mean([psnr(a, b) for a, b in zip(copied, future, strict=True)])), 2),
        "copy_last_ssim": round(ssim(copied, future), 4),
    }
