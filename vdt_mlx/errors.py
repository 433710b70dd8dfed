"""The one exception that means "the input is at fault, and here is the sentence that says why"."""


def harmless(text: str) -> str:
    """A text with control characters spelled, so that a file's name or content can neither drive a terminal nor break a
    line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


LONGEST = 2000
"""Letters of a message: more of them come from a value that was no sentence."""


class VDTError(Exception):
    """Bad input: its text is one clear sentence for the user; command lines print it and exit with status 2."""

    def __str__(self) -> str:
        text = harmless(super().__str__())
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 300]} ... {text[-280:]}"
