"""LPIPS as an extra column, through its authors' package (`pip install 'vdt-mlx[lpips]'`, which brings PyTorch)."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdt_mlx.errors import VDTError


@lru_cache(maxsize=1)
def network() -> Any:
    """The AlexNet variant. Raises VDTError if the package or its weights cannot be had."""
    try:
        import lpips
    except ImportError:
        raise VDTError(
            "`lpips` needs the package lpips (pip install 'vdt-mlx[lpips]'), which is not installed."
        ) from None
    try:
        return lpips.LPIPS(net="alex", verbose=False).eval()
    except Exception as error:
        raise VDTError(f"LPIPS cannot load its weights ({error}).") from None


def distance(frames: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Mean LPIPS over frames (F, H, W, 3)."""
    import torch

    def tensor(x: NDArray[np.uint8]) -> Any:
        return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).float() / 127.5 - 1

    with torch.no_grad():
        return float(network()(tensor(frames), tensor(truth)).mean())
