"""Standard output and error that take any text: letters that an encoding lacks are spelled, a closed one swallows."""

import codecs
import os
import sys
import unicodedata

SPELLED = {
    **{"×": "x", "±": "+-", "–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "·": ".", "•": "*", "≤": "<="},
    **{"≥": ">=", "≈": "~", "°": " deg", "µ": "u", "μ": "u", "‘": "'", "’": "'", "“": '"', "”": '"', "Δ": "d"},
    **{"█": "#", "▇": "#", "━": "-", "─": "-", "│": "|", "√": "sqrt", "∞": "inf", "−": "-", "✓": "v", "✗": "x"},
}
"""What is printed where an output is ASCII or Latin-1."""
ERRORS = "vdt-spelled"
ASCII = "vdt-ascii"
"""ASCII under a name of its own: click takes an output that says `ascii` for one that means UTF-8."""


def prepare() -> None:
    """Makes standard output and error take any text, and opens those that the caller closed onto nothing."""
    codecs.register_error(ERRORS, _spell)
    codecs.register(_ascii)
    if sys.stdin is None:  # else the next file that is opened gets its number, and MLX takes 0 for a failure
        handle = os.open(os.devnull, os.O_RDONLY)
        if handle != 0:
            os.dup2(handle, 0)
            os.close(handle)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # The number has to be taken, or the next file that is opened gets it and what C code prints.
            handle = os.open(os.devnull, os.O_WRONLY)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", errors=ERRORS, closefd=False))
        elif hasattr(stream, "reconfigure"):
            ascii_only = codecs.lookup(stream.encoding or "ascii").name == "ascii"
            stream.reconfigure(encoding=ASCII if ascii_only else stream.encoding, errors=ERRORS)


def abandon_output() -> None:
    """After a broken pipe: nothing more is said, also not at the interpreter's end."""
    handle = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(handle, number)
    os.close(handle)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_plain(letter) for letter in letters), error.end


def _ascii(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != ASCII:
        return None
    known = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        known.incrementalencoder,
        known.incrementaldecoder,
        name=ASCII,
    )


def _plain(letter: str) -> str:
    if letter in SPELLED:
        return SPELLED[letter]
    base = "".join(part for part in unicodedata.normalize("NFKD", letter) if part.isascii())
    return base or "?"
