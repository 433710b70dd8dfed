"""The simulator's exception for bad input (the package stands alone, so it has its own)."""

LONGEST = 800
"""Characters of a message, where a value or a name is very long."""


class SimulationError(Exception):
    """Bad input: its text is one clear sentence for the user; command lines print it and exit with status 2."""

    def __str__(self) -> str:
        """On one line: what comes from a file or a name cannot drive a terminal."""
        text = super().__str__()
        plain = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
        return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 3]}..."
