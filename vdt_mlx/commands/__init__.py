"""One file a command line of `vdt-mlx`."""
