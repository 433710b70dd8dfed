"""`python -m evals.physics`: examines models on the frozen suite and writes results.json and report.html."""
