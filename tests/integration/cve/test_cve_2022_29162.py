"""CVE-2022-29162: a process must not start with inheritable capabilities that nobody configured.

Seen to fail: with capset's inheritable set left as it was, in step_capabilities of csrc/init/steps_process.c.
"""

from __future__ import annotations

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


@pytest.mark.purev2
@pytest.mark.parametrize("user", [0, 1000])
def test_inheritable_and_ambient_are_empty(runtime: Runtime, bundle: Bundle, user: int) -> None:
    """The caller has inheritable and ambient capabilities of its own."""
    bundle.process["user"] = {"uid": user, "gid": user}
    bundle.args("cat", "/proc/self/status")
    prefix = ["setpriv", "--inh-caps=+chown,+net_raw", "--ambient-caps=+chown"]
    result = runtime.run(bundle, prefix=prefix)
    assert int(host.status_field(result.out, "CapBnd"), 16) != 0
    assert int(host.status_field(result.out, "CapInh"), 16) == 0
    assert int(host.status_field(result.out, "CapAmb"), 16) == 0


def test_in_a_user_namespace_too(runtime: Runtime, bundle: Bundle) -> None:
    """In a user namespace the init has all capabilities, to keep them over its own exec."""
    bundle.user_namespace()
    out = runtime.run(bundle.args("cat", "/proc/self/status")).out
    assert int(host.status_field(out, "CapInh"), 16) == 0
    assert int(host.status_field(out, "CapAmb"), 16) == 0


def test_configured_ones_are_there(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["capabilities"]["inheritable"] = ["CAP_NET_RAW"]
    out = runtime.run(bundle.args("cat", "/proc/self/status")).out
    assert int(host.status_field(out, "CapInh"), 16) == 1 << 13
