"""`python -m evals.ablations`: the paper's comparisons, and what makes physics extrapolate, as small trained models."""
