"""The namespaces phase."""

from __future__ import annotations

import errno

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel.fileio import sysctl_path
from pyrunc.libcontainer.plan.host import HostFacts
from tests.support.plans import compiled, find, kinds, minimal, values, with_linux

CLONE_NEWNS = 0x20000
ROOTLESS = HostFacts(euid=1000, egid=1000)
ONE_ID = [{"containerID": 0, "hostID": 1000, "size": 1}]


def test_clone_makes_all_but_cgroup_and_time() -> None:
    plan = compiled(with_linux("pid", "network", "ipc", "uts", "user", "cgroup", "time"))
    flags, join = values(find(plan, "clone")[0], "flags", "join")
    assert flags == 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x10000000 | CLONE_NEWNS
    assert join == ()
    assert [values(step, "flags") for step in find(plan, "unshare")] == [(0x02000000,), (0x80,)]


def test_joined_namespaces_are_opened_by_the_runtime_and_not_made() -> None:
    spec = minimal()
    spec["linux"]["namespaces"] += [{"type": "network", "path": "/n"}, {"type": "cgroup", "path": "/c"}]
    plan = compiled(spec)
    assert [values(step, "slot", "type", "path") for step in find(plan, "open_namespace")] == [
        ("namespace:network", "network", "/n"),
        ("namespace:cgroup", "cgroup", "/c"),
    ]
    assert values(find(plan, "clone")[0], "flags", "join") == (
        CLONE_NEWNS,
        ("network=namespace:network", "cgroup=namespace:cgroup"),
    )
    assert not find(plan, "unshare", "loopback_up")


def test_only_a_new_network_namespace_gets_its_loopback() -> None:
    assert find(compiled(with_linux("network")), "loopback_up")
    assert not find(compiled(minimal()), "loopback_up")


def test_maps_are_written_by_the_runtime_before_init_becomes_root() -> None:
    plan = compiled(with_linux("user", uidMappings=[*ONE_ID, {"containerID": 1, "hostID": 5, "size": 7}]))
    assert kinds(plan)[kinds(plan).index("clone") + 1 :][:5] == [
        "cgroup_devices", "request", "write_map", "write_map", "become_root",
    ]  # fmt: skip
    assert [values(step, "file", "lines") for step in find(plan, "write_map")] == [
        ("uid_map", ("0 1000 1", "1 5 7")),
        ("gid_map", ("0 100000 65536",)),
    ]


def test_an_unprivileged_single_gid_map_denies_setgroups_first() -> None:
    """CVE-2014-8989: leaving a group could permit what the group is denied."""
    plan = compiled(with_linux("user", uidMappings=ONE_ID, gidMappings=ONE_ID), ROOTLESS)
    order = kinds(plan)
    assert values(find(plan, "write_setgroups")[0], "value") == ("deny",)
    assert order.index("write_setgroups") < order.index("write_map")
    assert values(find(plan, "user")[0], "set_groups") == (0,)


@pytest.mark.parametrize(
    ("facts", "gids"),
    [
        (HostFacts(), ONE_ID),
        (ROOTLESS, [{"containerID": 0, "hostID": 1000, "size": 2}]),
        (ROOTLESS, [*ONE_ID, {"containerID": 1, "hostID": 100000, "size": 1}]),
        (ROOTLESS, [{"containerID": 0, "hostID": 100000, "size": 1}]),
    ],
)
def test_other_maps_leave_setgroups_allowed(facts: HostFacts, gids: list[dict[str, int]]) -> None:
    plan = compiled(with_linux("user", gidMappings=gids), facts)
    assert not find(plan, "write_setgroups")
    assert values(find(plan, "user")[0], "set_groups") == (1,)


TOOLS = HostFacts(euid=1000, egid=1000, newuidmap="/t/newuidmap", newgidmap="/t/newgidmap")
MORE_IDS = [*ONE_ID, {"containerID": 1, "hostID": 100000, "size": 5}]


def test_more_than_the_own_id_is_mapped_by_the_tools_where_the_kernel_refuses() -> None:
    plan = compiled(with_linux("user", uidMappings=MORE_IDS, gidMappings=MORE_IDS), TOOLS)
    steps = plan.served["maps"]
    lines = ("0 1000 1", "1 100000 5")
    assert [(step.kind, step.args, step.fallback_level, step.on_errno) for step in steps] == [
        ("write_map", ("uid_map", lines), 0, (errno.EPERM,)),
        ("map_by_tool", ("/t/newuidmap", "uid_map", lines), 1, ()),
        ("write_map", ("gid_map", lines), 0, (errno.EPERM,)),
        ("map_by_tool", ("/t/newgidmap", "gid_map", lines), 1, ()),
    ]
    assert steps[1].pointer == "/linux/uidMappings"
    assert values(find(plan, "user")[0], "set_groups") == (1,)


def test_the_own_id_needs_no_tool() -> None:
    plan = compiled(with_linux("user", uidMappings=ONE_ID, gidMappings=ONE_ID), TOOLS)
    assert [(step.kind, step.on_errno) for step in plan.served["maps"]] == [
        ("write_setgroups", ()), ("write_map", ()), ("write_map", ()),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outer", "pointer"),
    [
        (((0, 1000, 1), (1, 100000, 65536)), ""),
        (((0, 1000, 1), (1, 100000, 4)), "/linux/uidMappings/1"),
        (((0, 1000, 3), (3, 100000, 65536)), "/linux/uidMappings/1"),  # the kernel wants it in one range
    ],
)
def test_host_ids_are_those_of_the_runtime_s_own_user_namespace(
    outer: tuple[tuple[int, int, int], ...], pointer: str
) -> None:
    maps = [{"containerID": 0, "hostID": 0, "size": 1}, {"containerID": 1, "hostID": 1, "size": 5}]
    spec = with_linux("user", uidMappings=maps, gidMappings=maps)
    facts = HostFacts(in_userns=True, uid_map=outer)
    if not pointer:
        assert find(compiled(spec, facts), "write_map")
        return
    with pytest.raises(PyruncError, match="host uids 1-5 are not mapped") as caught:
        compiled(spec, facts)
    assert caught.value.pointer == pointer


def test_mappings_beside_a_joined_user_namespace_are_compared() -> None:
    spec = minimal()
    spec["linux"]["namespaces"].append({"type": "user", "path": "/u"})
    assert not find(compiled(spec), "check_maps")
    spec["linux"]["uidMappings"] = ONE_ID
    step = find(compiled(spec), "check_maps")[0]
    assert (step.args, step.pointer) == (("namespace:user", ("0 1000 1",), ()), "/linux/uidMappings")
    assert kinds(compiled(spec)).index("check_maps") == kinds(compiled(spec)).index("open_namespace") + 1


def test_a_joined_user_namespace_has_its_maps_already() -> None:
    spec = minimal()
    spec["linux"]["namespaces"].append({"type": "user", "path": "/u"})
    plan = compiled(spec)
    assert not find(plan, "write_map", "request")
    assert find(plan, "become_root")
    # only the init can find out whether the user namespace denies setgroups
    assert values(find(plan, "user")[0], "set_groups") == (2,)


@pytest.mark.parametrize(("path", "request_name"), [("", "maps"), ("/u", "oom_score_adj")])
def test_oom_score_adj_comes_from_outside_of_a_user_namespace(path: str, request_name: str) -> None:
    spec = with_linux("user")
    spec["linux"]["namespaces"][-1]["path"] = path
    spec["process"]["oomScoreAdj"] = 0
    plan = compiled(spec)
    assert [step.kind for step in plan.served[request_name]][-1] == "write_oom_score_adj"
    assert not find(plan, "oom_score_adj")
    # /proc/PID of a process that is not dumpable belongs to root
    assert kinds(plan).index("write_oom_score_adj") < kinds(plan).index("set_nondumpable")


def test_time_offsets_are_set_before_the_namespace_is_entered() -> None:
    spec = with_linux("time", timeOffsets={"boottime": {"secs": -3}, "monotonic": {"nanosecs": 4}})
    plan = compiled(spec)
    assert [step.kind for step in find(plan, "unshare", "time_offset", "enter_time")] == [
        "unshare",
        "time_offset",
        "time_offset",
        "enter_time",
    ]
    assert [step.args for step in find(plan, "time_offset")] == [("boottime", -3, 0), ("monotonic", 0, 4)]
    assert find(plan, "time_offset")[1].pointer == "/linux/timeOffsets/monotonic"


def test_session_keyring_is_named_after_the_container() -> None:
    assert values(find(compiled(minimal(), id="web"), "session_keyring")[0], "name") == ("_ses.web",)
    assert not find(compiled(minimal(), no_new_keyring=True), "session_keyring")


def test_names() -> None:
    spec = with_linux("uts")
    spec.update(hostname="h", domainname="d")
    plan = compiled(spec)
    assert values(find(plan, "hostname")[0], "name") == ("h",)
    assert values(find(plan, "domainname")[0], "name") == ("d",)
    spec.update(hostname="", domainname="")
    assert not find(compiled(spec), "hostname", "domainname")


def test_sysctls_in_listed_order_after_the_hooks_of_the_runtime() -> None:
    """A hook may bring the device that net.ipv4.conf.NAME names."""
    spec = with_linux("network", sysctl={"net.ipv4.conf.eth0.forwarding": "1", "net.core.somaxconn": "9"})
    spec["hooks"] = {"prestart": [{"path": "/bring-eth0"}]}
    plan = compiled(spec)
    assert [step.args for step in find(plan, "sysctl")] == [
        ("net/ipv4/conf/eth0/forwarding", "1"),
        ("net/core/somaxconn", "9"),
    ]
    assert kinds(plan).index("runtime_hook") < kinds(plan).index("sysctl") < kinds(plan).index("pivot_root")


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("single", "single"),
    ],
)
def test_sysctl_path(key: str, path: str) -> None:
    assert sysctl_path(key) == path


def test_net_devices_are_moved_before_the_hooks() -> None:
    spec = with_linux("network", netDevices={"eth0": {"name": "a"}, "e/1": {}})
    spec["hooks"] = {"createRuntime": [{"path": "/hook"}]}
    plan = compiled(spec)
    moves = find(plan, "net_device")
    assert [(*step.args, step.pointer) for step in moves] == [
        ("eth0", "a", "", "/linux/netDevices/eth0"),
        ("e/1", "e/1", "", "/linux/netDevices/e~11"),
    ]
    order = [step.args[0] if step.kind == "request" else step.kind for step in plan.init]
    assert order.index("net_devices") < order.index("set_nondumpable") < order.index("create_runtime")


def test_net_devices_of_a_joined_namespace_can_be_found_by_its_path() -> None:
    spec = with_linux(netDevices={"eth0": {}})
    spec["linux"]["namespaces"].append({"type": "network", "path": "/run/netns/x"})
    assert values(find(compiled(spec), "net_device")[0], "path") == ("/run/netns/x",)


def test_net_devices_take_root() -> None:
    spec = with_linux("network", "user", netDevices={"eth0": {}})
    with pytest.raises(PyruncError, match="not supported for rootless containers"):
        compiled(spec, rootless=True)
    with pytest.raises(PyruncError, match="not supported for rootless containers"):
        compiled(spec, HostFacts(euid=1000))


def test_no_net_devices_no_request() -> None:
    assert not find(compiled(with_linux("network", netDevices={})), "net_device", "request")
