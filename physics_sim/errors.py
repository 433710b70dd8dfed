"""The simulator's exception for bad input (the package stands alone, so it has its own)."""


class SimulationError(Exception):
    """Bad input: its text is one clear sentence for the user; command lines print it and exit with status 2."""
