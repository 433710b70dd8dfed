"""`python -m evals.speed`: how fast, in how many steps, in how much memory."""
