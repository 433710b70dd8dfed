"""How a run begins from other weights: more blocks, other latents, another prediction, a wider autoencoder."""
