"""`python -m evals.score`: the short score of `evals.physics.quick` as a command."""

from evals.physics.quick import command, quick_score

__all__ = ["command", "quick_score"]

if __name__ == "__main__":
    from vdt_mlx.cli import run

    run(command, prog_name="python -m evals.score")
