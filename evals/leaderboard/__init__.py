"""`python -m evals.leaderboard`: checks submissions and writes docs/leaderboard.md from their results files."""
