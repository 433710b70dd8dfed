"""Parameters and arithmetic of one call of the network, read off its modules (not measured)."""

from vdt_mlx.config import VDTConfig
from vdt_mlx.network import parts
from vdt_mlx.network.block import CLIP, TOKENS


def flops(
    config: VDTConfig,
    frames: int | None = None,
    latent_size: tuple[int, int] | None = None,
    batch: int = 1,
) -> float:
    """Floating point operations of one forward pass over `batch` clips; a multiply and its add count as two.

    `frames` and `latent_size` (height, width in latent cells) default to what the network was trained on.
    Counted are the matrix products: each linear layer (outputs, inputs) once a token, or once a clip where it reads the
    timestep's vector, and the products inside of attention. With N tokens a frame, T frames, width D and MLP ratio r,
    a block of the official network costs

        temporal attention   N*T * (8 D^2 + 4 T D)     q, k, v, output projection; q k' and the weighted sum
        temporal_fc          N*T *  2 D^2
        spatial attention    N*T * (8 D^2 + 4 N D)
        MLP                  N*T *  4 r D^2
        adaLN modulation            12 D^2             once a clip: one timestep serves the whole clip

    a clip; outside the blocks are the patch embedding, the timestep MLP, and the final layer. Norms,
    softmax, GELU and sums are left out.
    """
    return float(batch * sum(flops_by_part(config, frames, latent_size).values()))


def flops_by_part(
    config: VDTConfig, frames: int | None = None, latent_size: tuple[int, int] | None = None
) -> dict[str, int]:
    """The operations of `flops` for one clip, by the part of the network that they serve."""
    frames = config.num_frames if frames is None else frames
    height, width = config.latent_size if latent_size is None else latent_size
    patches = (height // config.patch_size) * (width // config.patch_size)
    times = {TOKENS: frames * patches, CLIP: 1}
    found: dict[str, int] = {}
    for item in parts.of_config(config):
        found[item.part] = found.get(item.part, 0) + 2 * item.size * item.times * times.get(item.reads, 0)
    for part, module in parts.attentions(config):
        found[part] += 2 * module.products(frames, patches)
    return found


def parameters(config: VDTConfig) -> int:
    """Weights of the network, the stored position tables included (VDT-L/2 at 256 px: 860,017,568)."""
    return sum(parameters_by_part(config).values())


def parameters_by_part(config: VDTConfig) -> dict[str, int]:
    """Weights of the network by the part that they serve, the stored position tables included."""
    found: dict[str, int] = {}
    for item in parts.of_config(config):
        found[item.part] = found.get(item.part, 0) + item.size
    return found
