"""`python -m evals.physics`."""

from evals.physics.cli import main

if __name__ == "__main__":  # a spawned worker imports this file again
    main()
