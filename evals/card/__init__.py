"""`python -m evals.card`: what an examination says of a checkpoint, in figures and pictures, on its model card."""
