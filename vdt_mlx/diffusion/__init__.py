"""Noise schedules, losses, samplers and the masks of the seven tasks."""
