"""VDT, the Video Diffusion Transformer (arXiv 2305.13311), in MLX.

from vdt_mlx import Pipeline
pipe = Pipeline.from_pretrained("physics")
pipe.predict("my.mp4", given=8).save("future.gif")

from vdt_mlx import load_vdt
model = load_vdt(folder)
output = model(x, t)        # x (B, T, H, W, C), t (B,)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vdt_mlx.device import blas, precision

blas.load()  # before anything here imports mlx.core
precision.keep_full()  # before MLX first computes

__version__ = "0.1.0"

# Names are resolved on first use, so that `vdt-mlx --help` does not wait for MLX.
_LAZY = {
    "Pipeline": "vdt_mlx.pipeline",
    "Sampling": "vdt_mlx.diffusion.sampling",
    "VDT": "vdt_mlx.network.vdt",
    "load_vdt": "vdt_mlx.checkpoint",
    "load_autoencoder": "vdt_mlx.checkpoint",
    "VDTConfig": "vdt_mlx.config",
    "AutoencoderConfig": "vdt_mlx.config",
    "DiffusionConfig": "vdt_mlx.config",
    "VDTError": "vdt_mlx.errors",
}
__all__ = [
    "VDT",
    "AutoencoderConfig",
    "DiffusionConfig",
    "Pipeline",
    "Sampling",
    "VDTConfig",
    "VDTError",
    "__version__",
    "load_autoencoder",
    "load_vdt",
]

if TYPE_CHECKING:
    from vdt_mlx.checkpoint import load_autoencoder, load_vdt
    from vdt_mlx.config import AutoencoderConfig, DiffusionConfig, VDTConfig
    from vdt_mlx.diffusion.sampling import Sampling
    from vdt_mlx.errors import VDTError
    from vdt_mlx.network.vdt import VDT
    from vdt_mlx.pipeline import Pipeline


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'vdt_mlx' has no attribute {name!r}")
