"""SHA-256, for the names of sockets. Hot.

The launcher has no hashlib, and Debian's static library of CPython 3.12 and later lacks the functions that `_sha2`
calls. A name has two blocks, which take less than a millisecond. Source: FIPS 180-4.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_BLOCK = 64


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all([number % prime for prime in found]):
            found.append(number)
        number += 1
    return found


def _root(number: int, degree: int) -> int:
    """The largest integer whose power is at most `number`."""
    low, high = 0, number
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= number else (low, middle - 1)
    return low


# The first 32 bits of the fractional parts of the square roots of 8 primes, and of the cube roots of 64 (4.2.2, 5.3.3).
_START = [_root(prime << 64, 2) & _MASK for prime in _primes(8)]
_ROUNDS = [_root(prime << 96, 3) & _MASK for prime in _primes(64)]


def _turn(value: int, bits: int) -> int:
    return (value >> bits | value << 32 - bits) & _MASK


def sha256(data: bytes) -> str:
    """The digest of bytes, in hexadecimal."""
    size = len(data)
    data += b"\x80" + bytes(-(size + 9) % _BLOCK) + (size * 8).to_bytes(8, "big")
    state = list(_START)
    for at in range(0, len(data), _BLOCK):
        words = [int.from_bytes(data[at + i : at + i + 4], "big") for i in range(0, _BLOCK, 4)]
        for i in range(16, 64):
            far, near = words[i - 15], words[i - 2]
            first = _turn(far, 7) ^ _turn(far, 18) ^ far >> 3
            second = _turn(near, 17) ^ _turn(near, 19) ^ near >> 10
            words.append(words[i - 16] + first + words[i - 7] + second & _MASK)
        a, b, c, d, e, f, g, h = state
        for i in range(64):
            total = h + (_turn(e, 6) ^ _turn(e, 11) ^ _turn(e, 25)) + (e & f ^ ~e & g) + _ROUNDS[i] + words[i]
            major = (_turn(a, 2) ^ _turn(a, 13) ^ _turn(a, 22)) + (a & b ^ a & c ^ b & c)
            h, g, f, e, d, c, b, a = g, f, e, d + total & _MASK, c, b, a, total + major & _MASK
        state = [old + new & _MASK for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)]
    return "".join([f"{word:08x}" for word in state])
