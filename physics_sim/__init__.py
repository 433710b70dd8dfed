"""A simulated world of balls, blocks and chains, drawn as short clips with exact labels. Stands alone: no MLX."""
