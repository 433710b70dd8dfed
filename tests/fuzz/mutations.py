"""Ways in which bytes and texts are damaged."""

import random


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one to four of these: flipped, cut, zeroed, doubled, moved or made up."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_WAYS)(rng, data)
    return data


def _flip(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _early_flip(rng: random.Random, data: bytes) -> bytes:
    """Headers are at the beginning."""
    out = bytearray(data)
    if out:
        out[rng.randrange(min(len(out), 64))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(out)


def _late_flip(rng: random.Random, data: bytes) -> bytes:
    """And indexes at the end."""
    return _early_flip(rng, data[::-1])[::-1]


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _cut_start(rng: random.Random, data: bytes) -> bytes:
    return data[rng.randrange(min(len(data), 32) + 1) :]


def _zero(rng: random.Random, data: bytes) -> bytes:
    at, length = _part(rng, data)
    return data[:at] + bytes(length) + data[at + length :]


def _double(rng: random.Random, data: bytes) -> bytes:
    at, length = _part(rng, data)
    return data[: at + length] + data[at:]


def _remove(rng: random.Random, data: bytes) -> bytes:
    at, length = _part(rng, data)
    return data[:at] + data[at + length :]


def _noise(rng: random.Random, data: bytes) -> bytes:
    at, length = _part(rng, data)
    return data[:at] + rng.randbytes(length) + data[at + length :]


def _big_number(rng: random.Random, data: bytes) -> bytes:
    """A size of 2, 4 or 8 bytes that is absurd."""
    width = rng.choice((2, 4, 8))
    at = rng.randrange(max(1, len(data) - width))
    value = rng.choice((0, 1, (1 << (8 * width)) - 1, 1 << (8 * width - 1), rng.randrange(1 << (8 * width))))
    return data[:at] + value.to_bytes(width, rng.choice(("little", "big"))) + data[at + width :]


def _trailing(rng: random.Random, data: bytes) -> bytes:
    return data + rng.randbytes(rng.randrange(1, 200))


def _part(rng: random.Random, data: bytes) -> tuple[int, int]:
    length = rng.randrange(1, max(2, min(len(data), 300)))
    return rng.randrange(max(1, len(data) - length + 1)), length


_WAYS = (
    *(_flip, _flip, _early_flip, _early_flip, _late_flip, _cut, _cut_start, _zero, _double, _remove, _noise),
    *(_big_number, _trailing),
)
