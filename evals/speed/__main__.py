"""`python -m evals.speed`."""

from evals.speed.cli import main

if __name__ == "__main__":
    main()
