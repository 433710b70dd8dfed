"""The one exception that means "the input is at fault, and here is the sentence that says why"."""


def harmless(text: str) -> str:
    """A text with control characters spelled, so that a file's name or content can neither drive a terminal nor break a
    line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class VDTError(Exception):
    """Bad input: its text is one clear sentence for the user; command lines print it and exit with status 2."""

    def __str__(self) -> str:
        return harmless(super().__str__())
