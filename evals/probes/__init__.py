"""Probes: one cause is turned through its range, everything else stays, and the effect is measured."""
