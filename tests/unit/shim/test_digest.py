"""SHA-256 against hashlib's."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.shim.digest import sha256


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert sha256(data) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 55, 56, 63, 64, 119, 120])
def test_the_edges_of_a_block(size: int) -> None:
    assert sha256(b"a" * size) == hashlib.sha256(b"a" * size).hexdigest()
