"""`python -m evals.card`."""

from evals.card.cli import main

if __name__ == "__main__":
    main()
