"""`python -m evals.leaderboard`."""

from evals.leaderboard.cli import main

if __name__ == "__main__":
    main()
