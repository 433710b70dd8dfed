"""Test clips: the simulator's, and anyone's own."""
