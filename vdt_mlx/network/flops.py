"""Arithmetic of one call of the network, counted from its configuration (not measured)."""

from vdt_mlx.config import VDTConfig

FREQUENCIES = 256
"""Width of the sinusoidal timestep embedding."""


def flops(
    config: VDTConfig,
    frames: int | None = None,
    latent_size: tuple[int, int] | None = None,
    batch: int = 1,
) -> float:
    """Floating point operations of one forward pass over `batch` clips; a multiply and its add count as two.

    `frames` and `latent_size` (height, width in latent cells) default to what the network was trained on.
    Counted are the matrix products. With N tokens a frame, T frames, width D and MLP ratio r, a block costs

        temporal attention   N*T * (8 D^2 + 4 T D)     q, k, v, output projection; q k' and the weighted sum
        temporal_fc          N*T *  2 D^2
        spatial attention    N*T * (8 D^2 + 4 N D)
        MLP                  N*T *  4 r D^2
        adaLN modulation            12 D^2             once a clip: one timestep serves the whole clip

    a clip; outside the blocks are the patch embedding, the timestep MLP, and the final layer. Norms,
    softmax, GELU and sums are left out.
    """
    frames = config.num_frames if frames is None else frames
    height, width = config.latent_size if latent_size is None else latent_size
    tokens = (height // config.patch_size) * (width // config.patch_size)
    patch_cells = config.patch_size**2
    dim = config.hidden_size
    hidden = int(dim * config.mlp_ratio)

    projections = 8 * dim**2 + 2 * dim**2 + 8 * dim**2 + 4 * dim * hidden
    attention = 4 * frames * dim + 4 * tokens * dim
    block = frames * tokens * (projections + attention) + 2 * dim * 6 * dim
    embedding = frames * tokens * 2 * patch_cells * config.in_channels * dim
    timestep = 2 * FREQUENCIES * dim + 2 * dim**2
    final = frames * tokens * 2 * dim * patch_cells * config.out_channels + 2 * dim * 2 * dim
    return float(batch * (config.depth * block + embedding + timestep + final))


def parameters(config: VDTConfig) -> int:
    """Weights of the network, the stored position tables included (VDT-L/2 at 256 px: 860,017,568)."""
    width = config.hidden_size
    hidden = int(width * config.mlp_ratio)
    patch_cells = config.patch_size**2
    rows, columns = config.grid

    linears = [(width, 3 * width), (width, width)] * 2  # spatial and temporal attention
    linears += [(width, width), (width, hidden), (hidden, width), (width, 6 * width)]
    block = sum(inputs * outputs + outputs for inputs, outputs in linears) + 2 * width
    outside = [
        (patch_cells * config.in_channels, width),
        (FREQUENCIES, width),
        (width, width),
        (width, patch_cells * config.out_channels),
        (width, 2 * width),
    ]
    tables = (rows * columns + config.num_frames) * width + (config.num_classes + 1) * width
    return config.depth * block + sum(inputs * outputs + outputs for inputs, outputs in outside) + tables
