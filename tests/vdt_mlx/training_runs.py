"""A tiny training problem, and what the tests of whole runs do with it."""

from pathlib import Path

import numpy as np

from vdt_mlx.config import VDTConfig
from vdt_mlx.training import state as saving
from vdt_mlx.training.start import train_autoencoder, train_vdt

SMALL = VDTConfig(
    hidden_size=32, depth=1, num_heads=2, in_channels=3, latent_size=(4, 4), num_frames=4, learn_sigma=False
)
"""A network for what needs no whole run; the fixture `small_network` builds it."""

CONFIG = """
name = "tiny"
[vdt]
hidden_size = 16
depth = 1
num_heads = 2
latent_size = [2, 2]
num_frames = 4
learn_sigma = false
[diffusion]
prediction = "flow"
schedule = "flow"
sampler = "euler"
steps = 2
[autoencoder]
kind = "tiny"
block_out_channels = [4, 8, 8]
num_encoder_blocks = [0, 1, 1]
num_decoder_blocks = [1, 1, 0]
[data]
source = "videos"
path = "PATH"
size = [8, 8]
frames = 4
[optimizer]
warmup = 2
[loop]
steps = 8
batch = 4
save_minutes = 0.0
preview_minutes = 0.0
[autoencoder_loop]
steps = 4
batch = 4
save_minutes = 0.0
preview_minutes = 0.0
"""


def make_clips(folder: Path) -> None:
    """Six npz files of eight frames of 8 x 8 pixels: a square that changes colour."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(6):
        frames = np.full((8, 8, 8, 3), 200, np.uint8)
        row, column = rng.integers(0, 6, 2)
        for frame in frames:
            frame[row : row + 2, column : column + 2] = rng.integers(0, 256, 3)
        np.savez(folder / f"{number}.npz", frames=frames)


def make_problem(folder: Path) -> dict[str, str]:
    """A folder of small clips, a configuration for them, and an autoencoder trained on them."""
    make_clips(folder / "videos")
    config = folder / "tiny.toml"
    config.write_text(CONFIG.replace("PATH", str(folder / "videos")))
    train_autoencoder(str(config), folder / "autoencoder")
    return {"config": str(config), "autoencoder": str(folder / "autoencoder" / "checkpoint"), "folder": str(folder)}


def losses(out: Path) -> list[tuple[int, float]]:
    return [(entry["step"], entry["loss"]) for entry in saving.read_log(out) if "loss" in entry]


def start(problem, out: Path, *changes: str, **options):
    autoencoder = None if options.get("resume") else problem["autoencoder"]
    return train_vdt(problem["config"], out, changes, autoencoder=autoencoder, **options)
