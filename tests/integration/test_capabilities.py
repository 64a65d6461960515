"""The five capability sets, as the container's /proc/self/status shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

NUMBERS = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SYS_CHROOT": 18}
STATUS = {
    "bounding": "CapBnd",
    "effective": "CapEff",
    "permitted": "CapPrm",
    "inheritable": "CapInh",
    "ambient": "CapAmb",
}
KILL, CHOWN, CHROOT = "CAP_KILL", "CAP_CHOWN", "CAP_SYS_CHROOT"


def mask(*names: str) -> int:
    """Capability names as the kernel's bit mask."""
    return sum(1 << NUMBERS[name] for name in names)


def sets_inside(runtime: Runtime, bundle: Bundle) -> dict[str, int]:
    """The program's five sets."""
    out = runtime.run(bundle.args("cat", "/proc/self/status")).out
    return {name: int(host.status_field(out, field), 16) for name, field in STATUS.items()}


@pytest.mark.purev2
@pytest.mark.parametrize("uid", [0, 1000])
def test_all_five_sets(runtime: Runtime, bundle: Bundle, uid: int) -> None:
    bundle.process["user"] = {"uid": uid, "gid": 0}
    bundle.process["capabilities"] = {
        "bounding": [CHOWN, KILL, CHROOT],
        "permitted": [CHOWN, KILL],
        "effective": [CHOWN, KILL],
        "inheritable": [KILL],
        "ambient": [KILL],
    }
    found = sets_inside(runtime, bundle)
    assert found["bounding"] == mask(CHOWN, KILL, CHROOT)
    assert found["inheritable"] == found["ambient"] == mask(KILL)
    if uid == 0:
        # capabilities(7): at root's execve, all of the bounding and inheritable set becomes permitted, unless the
        # process has ambient capabilities and no_new_privs.
        assert found["effective"] in (mask(CHOWN, KILL), mask(CHOWN, KILL, CHROOT), mask(KILL))
    else:
        assert found["permitted"] == found["effective"] == mask(KILL)


def test_user_without_ambient_has_none(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 0}
    bundle.process["capabilities"] = {
        "bounding": [CHOWN, KILL], "permitted": [CHOWN, KILL], "effective": [CHOWN, KILL],
    }  # fmt: skip
    assert sets_inside(runtime, bundle) == {
        "bounding": mask(CHOWN, KILL), "effective": 0, "permitted": 0, "inheritable": 0, "ambient": 0,
    }  # fmt: skip


def test_root_has_its_bounding_set(runtime: Runtime, bundle: Bundle) -> None:
    names = [CHOWN, KILL, CHROOT]
    bundle.process["capabilities"] = {"bounding": names, "permitted": names, "effective": names}
    bundle.process["noNewPrivileges"] = False
    expected = mask(*names)
    assert sets_inside(runtime, bundle) == {
        "bounding": expected, "effective": expected, "permitted": expected, "inheritable": 0, "ambient": 0,
    }  # fmt: skip


@pytest.mark.own("1.1 drops all; 1.5 does this")
def test_without_the_field_the_caller_s_are_kept(runtime: Runtime, bundle: Bundle) -> None:
    del bundle.process["capabilities"]
    own = Path("/proc/self/status").read_text()
    assert sets_inside(runtime, bundle) == {
        name: int(host.status_field(own, field), 16) for name, field in STATUS.items()
    }


@pytest.mark.parametrize("value", [{}, {"bounding": []}])
def test_no_capabilities(runtime: Runtime, bundle: Bundle, value: dict[str, list[str]]) -> None:
    bundle.process["capabilities"] = value
    assert set(sets_inside(runtime, bundle).values()) == {0}


def test_what_is_not_bound_can_t_be_regained(runtime: Runtime, bundle: Bundle) -> None:
    names = [KILL, "CAP_DAC_OVERRIDE"]
    bundle.process["capabilities"] = {"bounding": names, "permitted": names, "effective": names}
    out = runtime.inside(bundle, "touch /tmp/x; chown 5 /tmp/x 2>&1 || chroot / true 2>&1 || echo refused")
    assert "Operation not permitted" in out
    assert out.endswith("refused\n")


@pytest.mark.own("it fails; the specification wants a warning for what can't be granted")
def test_what_can_t_be_granted_is_warned_of(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["capabilities"] = {"bounding": [], "permitted": [], "effective": [KILL], "inheritable": [CHOWN]}
    result = runtime.run(bundle.args("cat", "/proc/self/status"))
    assert int(host.status_field(result.out, "CapEff"), 16) == 0
    assert int(host.status_field(result.out, "CapInh"), 16) == 0
    assert "can't raise effective capability CAP_KILL" in result.err
    assert "can't raise inheritable capability CAP_CHOWN" in result.err


def test_ambient_needs_inheritable(runtime: Runtime, bundle: Bundle) -> None:
    """COMPAT: runc warns `can't raise ambient capability CAP_X` and goes on."""
    bundle.process["user"] = {"uid": 1000, "gid": 0}
    names = [KILL]
    bundle.process["capabilities"] = {"bounding": names, "permitted": names, "effective": names, "ambient": names}
    bundle.args("cat", "/proc/self/status")
    result = runtime.run(bundle)
    assert int(host.status_field(result.out, "CapAmb"), 16) == 0
    if runtime.is_own:
        assert "can't raise ambient capability CAP_KILL" in result.err


def test_unknown_capability_is_warned_of(runtime: Runtime, bundle: Bundle) -> None:
    """The specification: the runtime must warn of an unknown name, which is no error."""
    names = [KILL, "CAP_MADE_UP"]
    bundle.process["capabilities"] = {"bounding": names, "permitted": names, "effective": names}
    result = runtime.run(bundle.args("cat", "/proc/self/status"))
    assert int(host.status_field(result.out, "CapBnd"), 16) == mask(KILL)
    assert "CAP_MADE_UP" in result.err
    assert "warn" in result.err


LACKING = ("setpriv", "--bounding-set=-kill", "--")


@pytest.mark.own("fails with EPERM")
@pytest.mark.parametrize("kinds", [("bounding", "permitted", "effective"), tuple(STATUS)], ids=["usual", "all"])
def test_s4_what_the_runtime_lacks_is_left_out(runtime: Runtime, bundle: Bundle, kinds: tuple[str, ...]) -> None:
    """S4: a runtime SHOULD NOT fail for a capability that it can't grant, and warns; it never grants more than
    requested.
    """
    bundle.process["capabilities"] = {kind: [CHOWN, KILL] for kind in kinds}
    result = runtime.run(bundle.args("cat", "/proc/self/status"), prefix=LACKING)
    assert "the runtime itself does not have: [CAP_KILL]" in result.err
    found = {name: int(host.status_field(result.out, field), 16) for name, field in STATUS.items()}
    for name in STATUS:
        assert found[name] == (mask(CHOWN) if name in kinds else 0)


@pytest.mark.own("fails with EPERM")
def test_s4_exec_too(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["capabilities"] = {kind: [CHOWN, KILL] for kind in ("bounding", "permitted", "effective")}
    container = runtime.started(bundle.args("sleep", "100"))
    result = runtime("exec", container.id, "cat", "/proc/self/status", prefix=LACKING)
    assert result.code == 0, result
    assert int(host.status_field(result.out, "CapBnd"), 16) == mask(CHOWN)
    assert "[CAP_KILL]" in result.err


def test_s4_a_user_namespace_has_what_the_runtime_lacks(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    bundle.process["capabilities"] = {kind: [CHOWN, KILL] for kind in ("bounding", "permitted", "effective")}
    result = runtime.run(bundle.args("cat", "/proc/self/status"), prefix=LACKING)
    assert int(host.status_field(result.out, "CapEff"), 16) == mask(CHOWN, KILL)
    assert "CAP_KILL" not in result.err


@pytest.mark.own("vanishes without a word")
def test_s4_what_is_permitted_outside_of_the_bounding_set_is_told(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["capabilities"] = {"bounding": [CHOWN], "permitted": [CHOWN, KILL], "effective": [CHOWN, KILL]}
    result = runtime.run(bundle.args("cat", "/proc/self/status"))
    assert int(host.status_field(result.out, "CapPrm"), 16) == mask(CHOWN)
    for name in ("permitted", "effective"):
        assert f"ignoring {name} capabilities that are not in the bounding set: [CAP_KILL]" in result.err
