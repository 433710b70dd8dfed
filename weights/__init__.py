"""Checkpoints: the shipped one, where others are, and how PyTorch files come in and out without PyTorch."""
