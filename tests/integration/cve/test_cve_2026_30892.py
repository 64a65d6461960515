"""CVE-2026-30892: `exec --user 1` ran as uid 0 with crun, since the number was read wrongly.

What `--user` says is what the process gets, or an error. 4294967295 is -1, which setresuid(2) takes for "as it is":
root.

Seen to fail: with LAST_ID of pyrunc/libcontainer/kernel/constants.py one higher.
"""

from __future__ import annotations

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime


@pytest.fixture(params=["host", "user-namespace"])
def box(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Container:
    if request.param == "user-namespace":
        bundle.user_namespace()
    return runtime.started(bundle.args("sleep", "1000"))


@pytest.mark.parametrize(
    ("user", "uid", "gid"),
    [("0", "0", "0"), ("1", "1", "0"), ("10", "10", "0"), ("010", "10", "0"), ("1:1", "1", "1"), ("99:7", "99", "7")],
)
def test_the_ids_are_those_that_were_asked_for(box: Container, user: str, uid: str, gid: str) -> None:
    for words in (["--user", user], ["-u", user], [f"--user={user}"], [f"-u={user}"]):
        result = box.runtime("exec", *words, box.id, "sh", "-c", "grep -E '^(Uid|Gid):' /proc/self/status")
        assert result.out.split() == ["Uid:", *[uid] * 4, "Gid:", *[gid] * 4], result


@pytest.mark.parametrize(
    "user",
    [
        "-1", "+1", "4294967295", "4294967296", "18446744073709551617", "1:4294967295", "1:-1", "0x1", "1_0", "1.", ":",
        "1:", ":0", "1:2:3", "1 ", " 1", "root", "1,0", "1\n",
    ],
)  # fmt: skip
@pytest.mark.own("1.1 takes some of these")
def test_what_is_no_id_is_refused(runtime: Runtime, bundle: Bundle, user: str) -> None:
    container = runtime.started(bundle.args("sleep", "1000"))
    result = runtime("exec", f"--user={user}", container.id, "id")
    assert (result.code, result.out) == (255, ""), result
    assert "bad uid" in result.last_line or "bad gid" in result.last_line


def test_an_id_that_is_not_mapped_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.user_namespace(size=1000).args("sleep", "1000"))
    for user in ("1000", "0:1000"):
        result = runtime("exec", "--user", user, container.id, "id")
        assert (result.code, result.out) == (255, "")
