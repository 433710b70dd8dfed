"""Training in MLX: the autoencoder and the VDT, on a Mac's GPU or on a CPU. `vdt-mlx train` is its command line."""
