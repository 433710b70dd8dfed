"""The examiner: tracks what a video model generates and scores its trajectories, not its looks."""

import vdt_mlx  # noqa: F401 (its OpenBLAS must come before anything here imports mlx.core)
