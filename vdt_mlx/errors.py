"""The one exception that means "the input is at fault, and here is the sentence that says why"."""


class VDTError(Exception):
    """Bad input: its text is one clear sentence for the user; command lines print it and exit with status 2."""
