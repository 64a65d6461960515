"""broker/mountoptions.py: the options that are passed on, and those that are refused."""

from __future__ import annotations

import errno

import pytest

from pyrunc.libcontainer.broker.model import Refusal
from pyrunc.libcontainer.broker.mountoptions import Options, parse

MB = 1 << 20


def test_a_tmpfs_always_has_a_limit() -> None:
    assert parse("tmpfs", "", MB) == Options((("size", str(MB)), ("nr_inodes", "1024")))
    found = dict(parse("tmpfs", "size=4k,nr_inodes=10,mode=1777,uid=5", MB).values)
    assert found == {"size": "4096", "nr_inodes": "10", "mode": "1777", "uid": "5"}


def test_a_proc() -> None:
    assert parse("proc", "hidepid=invisible,gid=5,subset=pid", MB).values == (
        ("hidepid", "invisible"), ("gid", "5"), ("subset", "pid"),
    )  # fmt: skip


def test_an_overlay() -> None:
    found = parse("overlay", "lowerdir=/a:b,upperdir=c,workdir=/d,userxattr", MB)
    assert found == Options(
        words=("userxattr",), layers=(("lowerdir", ("/a", "b")), ("upperdir", ("c",)), ("workdir", ("/d",)))
    )


@pytest.mark.parametrize(
    ("type", "text", "code"),
    [
        ("tmpfs", "size=2m", errno.EPERM),
        ("tmpfs", "size=0", errno.EPERM),
        ("tmpfs", "size=50%", errno.EINVAL),
        ("tmpfs", "size", errno.EINVAL),
        ("tmpfs", "nr_inodes=0", errno.EPERM),
        ("tmpfs", "nr_inodes=2000", errno.EPERM),
        ("tmpfs", "nr_blocks=5", errno.EPERM),
        ("tmpfs", "huge=always", errno.EPERM),
        ("tmpfs", "mpol=bind:0", errno.EPERM),
        ("tmpfs", "mode=rwx", errno.EINVAL),
        ("tmpfs", "size=1k,size=1k", errno.EINVAL),
        ("tmpfs", "size=1k,", errno.EPERM),
        ("proc", "hidepid=9", errno.EPERM),
        ("proc", "subset=all", errno.EPERM),
        ("proc", "pidns=/proc/1/ns/pid", errno.EPERM),
        ("overlay", "redirect_dir=on", errno.EPERM),
        ("overlay", "metacopy=on", errno.EPERM),
        ("overlay", "lowerdir=/a::/b", errno.EINVAL),
        ("overlay", "lowerdir=/a\\:b", errno.EINVAL),
        ("overlay", "upperdir=", errno.EINVAL),
        ("overlay", "lowerdir", errno.EINVAL),
        ("overlay", "userxattr=1", errno.EPERM),
        ("overlay", "lowerdir=" + ":".join(["a"] * 65), errno.EINVAL),
    ],
)
def test_what_is_refused(type: str, text: str, code: int) -> None:
    with pytest.raises(Refusal) as caught:
        parse(type, text, MB)
    assert caught.value.errno == code
