"""`python -m vdt_mlx` is `vdt-mlx`."""

from vdt_mlx.cli import main

main()
