"""The sandbox's change of a configuration: each row of the table in docs/isolation.md."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.isolation import calls, sandbox
from pyrunc.libcontainer.kernel.constants import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)
from pyrunc.libcontainer.plan.host import LANDLOCK
from pyrunc.libcontainer.spec import load, mount_options
from pyrunc.libcontainer.spec.example import example
from pyrunc.libcontainer.spec.landlock import bits, read
from tests.support.plans import minimal

IDS = sandbox.Ids([(0, 1000000, 65536)], [(0, 2000000, 65536)])


def tight(
    spec: Any, network: str = "none", profile: Any = None, ids: Any = IDS, rules: bool = True
) -> tuple[Any, list[str]]:
    """The changed configuration, which is valid again, and the changes."""
    changed = copy.deepcopy(spec)
    notes = sandbox.tighten(changed, network=network, profile=profile, ids=ids, rules=rules)
    load.validate(copy.deepcopy(changed))
    return changed, notes


def refused(spec: Any, **more: Any) -> PyruncError:
    with pytest.raises(PyruncError, match="in a sandbox") as caught:
        tight(spec, **more)
    assert caught.value.hint
    return caught.value


def types(spec: Any) -> set[str]:
    return {entry["type"] for entry in spec["linux"]["namespaces"]}


def test_a_sandbox_of_a_sandbox_is_the_same() -> None:
    once, notes = tight(example())
    assert notes
    once["process"]["noNewPrivileges"] = True
    twice, notes = tight(once)
    assert twice == once
    assert notes == ["/root: nosuid, nodev"]


def test_the_smallest_configuration_becomes_a_whole_sandbox() -> None:
    spec, notes = tight(minimal())
    assert types(spec) == {"user", "mount", "pid", "ipc", "uts", "cgroup", "network"}
    assert spec["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000000, "size": 65536}]
    assert spec["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 2000000, "size": 65536}]
    assert spec["process"]["noNewPrivileges"] is True
    assert spec["process"]["capabilities"] == {}
    assert spec["linux"]["seccomp"] == calls.profile()
    assert spec["linux"]["maskedPaths"] == list(sandbox.MASKED)
    assert spec["linux"]["readonlyPaths"] == list(sandbox.READ_ONLY)
    assert spec["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert all(note.startswith("/") and ": " in note for note in notes)


@pytest.mark.parametrize("type", ["pid", "ipc", "uts", "mount", "cgroup", "user", "network"])
def test_a_namespace_of_others_is_refused(type: str) -> None:
    spec = minimal()
    spec["linux"]["namespaces"] = [{"type": "mount"}, {"type": type, "path": "/proc/1/ns/x"}]
    assert refused(spec).pointer == "/linux/namespaces/1/path"


def test_the_network() -> None:
    joined = minimal()
    joined["linux"]["namespaces"].append({"type": "network", "path": "/run/netns/x"})
    assert "--network config" in refused(joined).hint
    assert tight(joined, "config")[0]["linux"]["namespaces"][1] == {"type": "network", "path": "/run/netns/x"}
    assert "network" not in types(tight(joined, "host")[0])
    assert "network" not in types(tight(minimal(), "config")[0])
    assert "network" not in types(tight(minimal(), "host")[0])
    assert "network" in types(tight(example(), "config")[0])
    devices = example()
    devices["linux"]["netDevices"] = {"eth0": {}}
    assert refused(devices).pointer == "/linux/netDevices"
    tight(devices, "config")


def test_a_user_namespace_of_the_configuration_stays() -> None:
    spec = minimal()
    mapping = [{"containerID": 0, "hostID": 5000, "size": 10}]
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"].update(uidMappings=mapping, gidMappings=mapping)
    assert tight(spec, ids=None)[0]["linux"]["uidMappings"] == mapping
    spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    assert refused(spec, ids=None).pointer == "/linux/gidMappings/0/hostID"


def test_capabilities() -> None:
    spec = minimal()
    all_of = ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_KILL"]
    sets = ("ambient", "bounding", "effective", "inheritable", "permitted")
    spec["process"]["capabilities"] = {name: list(all_of) for name in sets}
    changed, notes = tight(spec)
    assert changed["process"]["capabilities"] == {name: ["CAP_CHOWN", "CAP_KILL"] for name in sets}
    assert "/process/capabilities: without CAP_SYS_ADMIN CAP_NET_RAW" in notes
    never = {"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SYS_CHROOT"}
    assert not never & set(sandbox.CAPABILITIES)


def test_a_process_of_exec_is_bound_too() -> None:
    process: Any = {"args": ["x"], "cwd": "/", "capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}
    assert sandbox.bound_process(process) == ["/noNewPrivileges: true", "/capabilities: without CAP_SYS_ADMIN"]
    assert process["noNewPrivileges"] is True
    assert process["capabilities"] == {"bounding": []}


def test_the_filter() -> None:
    own = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
    given = {"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": []}
    spec = minimal()
    spec["linux"]["seccomp"] = own
    assert tight(spec)[0]["linux"]["seccomp"] == own
    assert tight(spec, profile=given)[0]["linux"]["seccomp"] == given
    assert tight(minimal(), profile=given)[0]["linux"]["seccomp"] == given
    for action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"):
        spec["linux"]["seccomp"] = {"defaultAction": action}
        assert refused(spec).pointer == "/linux/seccomp/defaultAction"
        assert refused(minimal(), profile={"defaultAction": action}).pointer == "/linux/seccomp/defaultAction"


@pytest.mark.parametrize("name", ["run.oci.seccomp_bpf_data", "run.oci.keep_original_groups"])
def test_annotations_that_would_undo_it_are_refused(name: str) -> None:
    assert refused(minimal(annotations={name: "1"})).pointer == "/annotations/" + name


def ruleset(spec: Any) -> Any:
    found, complaints = read(spec["annotations"][LANDLOCK])
    assert not complaints
    return found


def test_landlock_without_a_ruleset_of_the_configuration() -> None:
    found = ruleset(tight(minimal())[0])
    assert bits(found.fs) == (1 << 16) - 1
    char, block, ioctl = 1 << 6, 1 << 11, 1 << 15
    assert {rule.object: rule.access for rule in found.paths} == {
        "/": (1 << 16) - 1 & ~(char | block | ioctl), "/dev": ioctl,
    }  # fmt: skip
    assert [one.word for one in found.scoped] == ["abstract_unix_socket"]
    assert not found.net
    assert not found.strict


def test_landlock_with_a_ruleset_of_the_configuration_keeps_it() -> None:
    own = {
        "ruleset": {"handledAccessFS": ["write_file"], "handledAccessNet": ["bind_tcp"], "scoped": ["signal"]},
        "rules": {"pathBeneath": [{"allowedAccess": ["write_file"], "paths": ["/tmp", "/"]}]},
        "strict": True,
    }
    found = ruleset(tight(minimal(annotations={LANDLOCK: json.dumps(own)}))[0])
    access = {rule.object: rule.access for rule in found.paths}
    assert access["/tmp"] == 2
    assert access["/"] & 0b111 == 0b111
    assert bits(found.net) == 1
    assert bits(found.scoped) == 3
    assert found.strict
    del own["rules"]
    found = ruleset(tight(minimal(annotations={LANDLOCK: json.dumps(own)}))[0])
    assert not {rule.object: rule.access for rule in found.paths}["/"] & 2  # refused everywhere, as it says


def mounts(*entries: Any) -> Any:
    return minimal(mounts=list(entries))


def options_of(mount: Any) -> list[str]:
    spec, _ = tight(mounts(mount))
    found: list[str] = spec["mounts"][0]["options"]
    return found


def test_bind_mounts_stay_without_setuid_and_devices() -> None:
    mount = {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "dev", "suid", "rw"]}
    assert options_of(mount) == ["rbind", "rw", "rnosuid", "rnodev"]
    mount = {"destination": "/x", "source": "/srv", "options": ["bind", "ro"]}
    assert options_of(mount) == ["bind", "ro", "nosuid", "nodev"]
    mount = {"destination": "/x", "type": "rbind", "source": "/srv"}
    assert options_of(mount) == ["rnosuid", "rnodev"]


@pytest.mark.parametrize(
    ("type", "given"),
    [
        ("bind", ["bind", "nosuid", "nodev", "suid", "dev"]),
        ("bind", ["rbind", "rdev", "rsuid"]),
        ("bind", ["bind", "rdev", "rsuid"]),
        ("bind", ["rbind", "rnosuid", "rnodev", "suid", "dev"]),
        ("sysfs", ["nosuid", "noexec", "nodev", "ro", "rrw"]),
        ("proc", ["nosuid", "noexec", "nodev", "rsuid", "rexec", "rdev"]),
        ("tmpfs", ["rdev", "suid"]),
    ],
)
def test_no_option_undoes_what_a_mount_has_to_have(type: str, given: list[str]) -> None:
    entry = {"destination": "/x", "type": type, "source": "/srv", "options": given}
    found = mount_options.parse(options_of(entry))
    wanted = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    if type in ("sysfs", "proc"):
        wanted |= MOUNT_ATTR_NOEXEC
    if type == "sysfs":
        wanted |= MOUNT_ATTR_RDONLY
    assert found.of_new & wanted == wanted
    assert not (found.attr_clr | found.rattr_clr) & wanted
    if found.bind == 2:
        assert found.rattr_set & wanted == wanted


def test_a_remount_does_not_undo_what_a_mount_got() -> None:
    remount = {"destination": "/sys/", "type": "bind", "source": "/sys", "options": ["bind", "remount", "rw", "exec"]}
    spec, _ = tight(mounts({"destination": "/sys", "type": "sysfs", "source": "sysfs"}, remount))
    assert spec["mounts"][1]["options"] == ["bind", "remount", "nosuid", "nodev", "noexec", "ro"]


@pytest.mark.parametrize("type", ["none", "bind", "rbind"])
def test_a_bind_mount_of_the_host_s_sys_becomes_a_sysfs(type: str) -> None:
    mount = {"destination": "/sys", "type": type, "source": "/sys", "options": ["rbind", "nosuid", "rw"]}
    spec, notes = tight(mounts(mount))
    assert spec["mounts"] == [
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "nodev", "noexec", "ro"]}
    ]
    assert "/mounts/0: a sysfs in the place of the host's" in notes
    assert refused(mounts({**mount, "destination": "/host"})).pointer == "/mounts/0/source"


def test_symlinks_that_lead_to_the_host_s_own_are_refused() -> None:
    links = {"/srv/link": "/proc", "/srv/root": "/"}
    mount = {"destination": "/x", "type": "bind", "source": "/srv/link", "options": ["bind"]}
    for spec, at in ((mounts(mount), "/mounts/0/source"), (minimal(root={"path": "/srv/root"}), "/root/path")):
        with pytest.raises(PyruncError, match="in a sandbox") as caught:
            sandbox.tighten(
                spec, network="none", profile=None, ids=IDS, rules=True, resolve=lambda path: links.get(path, path)
            )
        assert caught.value.pointer == at


def test_parameters_of_the_host_s_network_are_refused() -> None:
    spec = minimal()
    spec["linux"]["namespaces"].append({"type": "network"})
    for name in ("net.core.somaxconn", "net/core/somaxconn"):
        spec["linux"]["sysctl"] = {name: "77"}
        with pytest.raises(PyruncError, match="in a sandbox") as caught:
            tight(spec, "host")
        assert caught.value.pointer == "/linux/sysctl/" + name.replace("/", "~1")
        tight(spec)


@pytest.mark.parametrize(
    "source",
    ["/", "/proc", "/proc/1", "/sys", "/sys/fs/cgroup", "/dev", "/dev/sda", "/srv/../proc", "//dev", "../../proc"],
)
def test_bind_mounts_of_what_shows_or_changes_the_host_are_refused(source: str) -> None:
    mount = {"destination": "/x", "type": "bind", "source": source, "options": ["bind"]}
    assert refused(mounts(mount)).pointer == "/mounts/0/source"


@pytest.mark.parametrize(
    ("fstype", "destination", "least"),
    [
        ("proc", "/proc", {"nosuid", "nodev", "noexec"}),
        ("sysfs", "/sys", {"nosuid", "nodev", "noexec", "ro"}),
        ("cgroup", "/sys/fs/cgroup", {"nosuid", "nodev", "noexec", "ro"}),
        ("tmpfs", "/run", {"nosuid", "nodev"}),
        ("tmpfs", "/dev", {"nosuid"}),
        ("devpts", "/dev/pts", {"nosuid", "noexec"}),
    ],
)
def test_file_systems_get_their_options(fstype: str, destination: str, least: set[str]) -> None:
    assert set(options_of({"destination": destination, "type": fstype, "source": "x", "options": ["rw"]})) >= least
    assert set(options_of({"destination": destination, "type": fstype, "source": "x"})) == least


def test_other_file_systems_and_shared_mounts_are_refused() -> None:
    assert refused(mounts({"destination": "/x", "type": "ext4", "source": "/srv/disk"})).pointer == "/mounts/0/type"
    shared = {"destination": "/x", "type": "bind", "source": "/srv", "options": ["bind", "rshared"]}
    assert refused(mounts(shared)).pointer == "/mounts/0/options/1"
    spec = minimal()
    spec["linux"]["rootfsPropagation"] = "shared"
    assert refused(spec).pointer == "/linux/rootfsPropagation"


def test_devices() -> None:
    spec = minimal()
    null = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}
    spec["linux"]["devices"] = [null, {"path": "/run/fifo", "type": "p"}]
    tight(spec)
    for device in (
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 1},
        {"path": "/dev/sda", "type": "b", "major": 8, "minor": 0},
        {"path": "/dev/null", "type": "b", "major": 1, "minor": 3},
    ):
        spec["linux"]["devices"] = [device]
        assert refused(spec).pointer == "/linux/devices/0"


def test_device_rules() -> None:
    spec = minimal()
    null = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
    terminals = {"allow": True, "type": "c", "major": 136, "access": "rwm"}
    nodes = {"allow": True, "type": "b", "access": "m"}
    for bad in (
        {"allow": True, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"},
        {"allow": True, "type": "b", "major": 1, "minor": 3, "access": "r"},
    ):
        spec["linux"]["resources"] = {"devices": [null, bad, terminals, nodes], "pids": {"limit": 5}}
        changed, notes = tight(spec)
        deny = {"allow": False, "access": "rwm"}
        assert changed["linux"]["resources"] == {"devices": [deny, null, terminals, nodes], "pids": {"limit": 5}}
        assert [note for note in notes if note.startswith("/linux/resources/devices: without")]
        assert "devices" not in tight(minimal(), rules=False)[0]["linux"].get("resources", {})


def test_masked_paths_of_the_configuration_stay_and_a_masked_path_is_not_read_only_too() -> None:
    spec = minimal()
    spec["linux"].update(maskedPaths=["/secret", "/proc/bus"], readonlyPaths=["/etc"])
    changed, _ = tight(spec)
    assert changed["linux"]["maskedPaths"][:2] == ["/secret", "/proc/bus"]
    assert set(sandbox.MASKED) < set(changed["linux"]["maskedPaths"])
    assert "/proc/bus" not in changed["linux"]["readonlyPaths"]
    assert changed["linux"]["readonlyPaths"][0] == "/etc"


@pytest.mark.parametrize("path", ["/", "//", "/proc/1/root", "/sys", "..", "../../"])
def test_the_host_s_root_is_refused(path: str) -> None:
    spec = minimal(root={"path": path})
    with pytest.raises(PyruncError, match="in a sandbox") as caught:
        sandbox.tighten(spec, network="none", profile=None, ids=IDS, rules=True, bundle="/bundle")
    assert caught.value.pointer == "/root/path"
