"""`python -m evals.ablations`."""

from evals.ablations.cli import main

if __name__ == "__main__":
    main()
