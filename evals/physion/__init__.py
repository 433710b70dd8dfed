"""Physion (arXiv 2106.08261) by its own rules: will the red object touch the yellow one? `python -m evals.physion`"""
