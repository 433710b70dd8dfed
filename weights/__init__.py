"""Checkpoints: the shipped one, where others are, and how PyTorch's come in (and go back out) without PyTorch."""
