"""`--isolation sandbox`: attacks of a container on its host, each with what refuses it (docs/isolation.md).

tests/support/attacks.c makes the attacks. They run with the sandbox's own seccomp profile, and with one that allows
every call: so both layers are seen.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pyrunc.libcontainer.isolation import sandbox
from pyrunc.libcontainer.kernel.constants import CAPABILITIES
from pyrunc.libcontainer.plan.host import landlock_abi
from pyrunc.libcontainer.seccomp import compiler
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.programs import static_program
from tests.support.rootless import UID, RootlessRuntime
from tests.support.runtime import Runtime
from tests.support.seccomp import allowing

pytestmark = [
    pytest.mark.own("pyrunc's own option"),
    pytest.mark.skipif(landlock_abi() == 0, reason="the kernel has no Landlock"),
]

SANDBOX = ("--isolation", "sandbox")
LAST_CALL = 470

SECCOMP, CAPABILITY, LANDLOCK, MOUNT, NAMESPACE, KERNEL, NOTHING = (
    "seccomp", "capability", "Landlock", "mount", "namespace", "kernel", "nothing",
)  # fmt: skip
EPERM, EACCES, EROFS, ENOSYS = errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS


class Attack(NamedTuple):
    """name: of attacks.c. layer: what refuses it. call: the words of `seccomp explain --profile`, if seccomp does.
    beneath: what refuses it under a profile that allows every call."""

    name: str
    layer: str
    beneath: str
    call: str = ""


ATTACKS = (
    Attack("mount", SECCOMP, LANDLOCK, "mount"),
    Attack("bind", SECCOMP, LANDLOCK, "mount"),
    Attack("remount", SECCOMP, LANDLOCK, "mount"),
    Attack("umount2", SECCOMP, LANDLOCK, "umount2"),
    Attack("pivot_root", SECCOMP, LANDLOCK, "pivot_root"),
    Attack("fsopen", SECCOMP, CAPABILITY, "fsopen"),
    Attack("open_tree", SECCOMP, CAPABILITY, "open_tree"),
    Attack("mount_setattr", SECCOMP, CAPABILITY, "mount_setattr"),
    Attack("ptrace", SECCOMP, NOTHING, "ptrace"),
    Attack("process_vm_readv", SECCOMP, NOTHING, "process_vm_readv"),
    Attack("pidfd_getfd", SECCOMP, NOTHING, "pidfd_getfd"),
    Attack("keyctl", SECCOMP, NOTHING, "keyctl"),
    Attack("add_key", SECCOMP, NOTHING, "add_key"),
    Attack("bpf", SECCOMP, CAPABILITY, "bpf"),
    Attack("unshare", SECCOMP, NOTHING, "unshare 0x10000000"),
    Attack("unshare_mounts", SECCOMP, CAPABILITY, "unshare 0x20000"),
    Attack("clone", SECCOMP, NOTHING, "clone 0x10000011"),
    Attack("clone3", SECCOMP, NOTHING, "clone3"),
    Attack("setns", SECCOMP, CAPABILITY, "setns"),
    Attack("chroot", SECCOMP, CAPABILITY, "chroot"),
    Attack("open_by_handle_at", SECCOMP, CAPABILITY, "open_by_handle_at"),
    Attack("kexec_load", SECCOMP, CAPABILITY, "kexec_load"),
    Attack("init_module", SECCOMP, CAPABILITY, "init_module"),
    Attack("finit_module", SECCOMP, CAPABILITY, "finit_module"),
    Attack("delete_module", SECCOMP, CAPABILITY, "delete_module"),
    Attack("perf_event_open", SECCOMP, KERNEL, "perf_event_open"),
    Attack("io_uring_setup", SECCOMP, NOTHING, "io_uring_setup"),
    Attack("userfaultfd", SECCOMP, NOTHING, "userfaultfd"),
    Attack("reboot", SECCOMP, CAPABILITY, "reboot"),
    Attack("swapon", SECCOMP, CAPABILITY, "swapon"),
    Attack("acct", SECCOMP, CAPABILITY, "acct"),
    Attack("syslog", SECCOMP, CAPABILITY, "syslog"),
    Attack("sethostname", SECCOMP, CAPABILITY, "sethostname"),
    Attack("clock_settime", SECCOMP, CAPABILITY, "clock_settime"),
    Attack("quotactl", SECCOMP, KERNEL, "quotactl"),
    Attack("socket_raw", SECCOMP, CAPABILITY, "socket 2 3 1"),
    Attack("socket_raw6", SECCOMP, CAPABILITY, "socket 10 3 58"),
    Attack("socket_packet", SECCOMP, CAPABILITY, "socket 17 3 0x300"),
    Attack("socket_vsock", SECCOMP, NOTHING, "socket 40 1 0"),
    Attack("socket_alg", SECCOMP, NOTHING, "socket 38 5 0"),
    Attack("socket_netfilter", SECCOMP, NOTHING, "socket 16 3 12"),
    Attack("mknod_char", SECCOMP, MOUNT, "mknod 0 0x21b6"),
    Attack("mknod_block", SECCOMP, MOUNT, "mknod 0 0x61b6"),
    Attack("sysrq-trigger", MOUNT, MOUNT),
    Attack("core_pattern", MOUNT, MOUNT),
    Attack("ip_forward", MOUNT, MOUNT),
    Attack("uevent", MOUNT, MOUNT),
    Attack("cgroup.procs", MOUNT, MOUNT),
    Attack("cgroup_mkdir", MOUNT, MOUNT),
    Attack("kcore", MOUNT, MOUNT),
    Attack("keys", MOUNT, MOUNT),
    Attack("image_device", MOUNT, MOUNT),
    Attack("host_file", LANDLOCK, LANDLOCK),
    Attack("host_up", LANDLOCK, LANDLOCK),
    Attack("host_ids", NAMESPACE, NAMESPACE),
    Attack("host_process", NAMESPACE, NAMESPACE),
    Attack("TIOCSTI", KERNEL, KERNEL),
)
# The errnos by which a layer refuses. A file that a kernel does not have (ENOENT) can't be attacked either.
ERRNOS = {
    SECCOMP: {EPERM, ENOSYS},
    CAPABILITY: {EPERM, ENOSYS},
    LANDLOCK: {EPERM, EACCES},
    MOUNT: {EPERM, EACCES, EROFS, errno.ENOENT, errno.ENODATA},
    NAMESPACE: {errno.EINVAL, errno.ESRCH},
    KERNEL: {EPERM, EACCES, errno.EIO, errno.ENOTTY, errno.ENOENT, errno.ENOTBLK, ENOSYS},
}


@pytest.fixture(scope="session")
def attacks(session_directory: Path) -> Path:
    """tests/support/attacks.c as a static program."""
    return static_program(session_directory, "attacks", "-Wextra")


@pytest.fixture
def box(bundle: Bundle) -> Bundle:
    """A bundle with all that containers usually have."""
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup")
    bundle.namespace("cgroup")
    return bundle


@pytest.fixture
def armed(box: Bundle, attacks: Path) -> Bundle:
    """The same with the attacks."""
    shutil.copy(attacks, box.rootfs / "bin/attacks")
    return box


@pytest.fixture(scope="session")
def everything(session_directory: Path) -> Path:
    """A profile that names every call."""
    token = compiler.architecture("")
    names = {compiler.call_name(number, token) for number in range(LAST_CALL)}
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": sorted(name for name in names if not name.isdigit()), "action": "SCMP_ACT_ALLOW"}],
    }
    path = session_directory / "everything.json"
    path.write_text(json.dumps(profile))
    return path


def sets(names: list[str]) -> dict[str, list[str]]:
    """process.capabilities with these in the sets that a program gets."""
    return {name: list(names) for name in ("bounding", "effective", "permitted")}


def results(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (line.rsplit(" ", 1) for line in text.splitlines())}


def in_words(number: int) -> str:
    return errno.errorcode.get(number, str(number))


@pytest.mark.parametrize("permissive", [False, True], ids=["own-profile", "every-call"])
def test_attacks(runtime: Runtime, armed: Bundle, everything: Path, tmp_path: Path, permissive: bool) -> None:
    os.mknod(armed.rootfs / "srv/kmsg", stat.S_IFCHR | 0o666, os.makedev(1, 11))
    os.chmod(armed.rootfs / "srv/kmsg", 0o666)
    outside = armed.path / "outside"
    outside.mkdir()
    (outside / "file").write_text("the host's")
    flags = [*SANDBOX, "--preserve-fds", "1"] + (["--seccomp-profile", str(everything)] if permissive else [])
    names = [attack.name for attack in ATTACKS]
    armed.sh("attacks " + " ".join(names) + "; exit 0")
    out = runtime.run(armed, *flags, prefix=("sh", "-c", 'exec 3< "$0" && exec "$@"', str(outside))).out
    found = results(out)
    assert list(found) == names
    wrong = []
    for attack in ATTACKS:
        layer = attack.beneath if permissive else attack.layer
        if layer != NOTHING and found[attack.name] not in ERRNOS[layer]:
            wrong.append(f"{attack.name}: {in_words(found[attack.name])}, but {layer} should refuse it")
    assert not wrong


def test_without_the_sandbox_the_attacks_work(runtime: Runtime, armed: Bundle) -> None:
    """Otherwise the table would prove nothing: a privileged container without a sandbox."""
    names = [f"CAP_{name}" for name in "SYS_ADMIN SYS_CHROOT SYS_PTRACE MKNOD NET_RAW DAC_READ_SEARCH SYSLOG".split()]
    armed.process["capabilities"] = sets(names)
    tried = (
        "mount bind fsopen open_tree ptrace keyctl unshare clone setns chroot open_by_handle_at socket_raw mknod_char"
    )
    found = results(runtime.run(armed.sh(f"attacks {tried}; exit 0")).out)
    assert found == dict.fromkeys(tried.split(), 0)


def test_seccomp_explain_names_the_rule(runtime: Runtime, box: Bundle) -> None:
    """The profile of the container is kept in its state directory."""
    container = runtime.started(box.args("sleep", "100"), *SANDBOX)
    kept = json.loads((runtime.root / container.id / "exec.json").read_text())
    profile = runtime.work / "kept.json"
    profile.write_text(json.dumps(kept["linux"]["seccomp"]))
    for attack in ATTACKS:
        if attack.layer == SECCOMP:
            result = runtime("seccomp", "explain", "--profile", profile, *attack.call.split())
            assert "SCMP_ACT_ERRNO (EPERM) by /linux/seccomp/defaultAction" in result.out or (
                attack.name == "clone3" and "SCMP_ACT_ERRNO (ENOSYS) by /linux/seccomp/syscalls/" in result.out
            ), attack.name


def test_exec_is_bound_in_the_same_way(runtime: Runtime, armed: Bundle) -> None:
    container = runtime.started(armed.args("sleep", "100"), *SANDBOX)
    names = [attack.name for attack in ATTACKS if attack.layer != LANDLOCK]
    status = "grep -E 'CapBnd|CapEff|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/self/uid_map"
    script = "attacks " + " ".join(names) + "; " + status
    allowed = ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]
    process = runtime.work / "process.json"
    every = [*allowed, "CAP_SYS_ADMIN", "CAP_NET_RAW"]
    process.write_text(
        json.dumps(
            {
                "args": ["/bin/sh", "-c", script],
                "cwd": "/",
                "env": ["PATH=/bin"],
                "noNewPrivileges": False,
                "capabilities": sets(every),
            }
        )
    )
    for words in (
        (
            "--cap",
            "CAP_SYS_ADMIN",
            "--cap",
            "CAP_NET_RAW",
            "--no-new-privs=false",
            container.id,
            "/bin/sh",
            "-c",
            script,
        ),
        ("--process", str(process), container.id),
    ):
        result = runtime("exec", *words)
        assert "/process/capabilities: without" in result.err
        lines = result.out.splitlines()
        found = results("\n".join(lines[: len(names)]))
        for attack in ATTACKS:
            if attack.name in found:
                assert found[attack.name] in ERRNOS[attack.layer], attack.name
        rest = dict(line.split(":", 1) for line in lines[len(names) : -1])
        kept = int(rest["CapEff"].strip(), 16)
        assert not kept & (1 << 21 | 1 << 13)
        assert (rest["NoNewPrivs"].strip(), rest["Seccomp"].strip()) == ("1", "2")
        assert int(lines[-1].split()[1]) >= 100000


def test_setuid_programs_and_ids(runtime: Runtime, box: Bundle) -> None:
    """The image's setuid program has no effect; its files are those of the container's root."""
    program = box.rootfs / "srv/id"
    shutil.copy("/bin/busybox", program)
    program.chmod(0o4755)
    box.process["user"] = {"uid": 1000, "gid": 1000}
    out = runtime.inside(box, "/srv/id -u; stat -c '%u %g' /srv/id; id -u", *SANDBOX)
    assert out.split() == ["1000", "0", "0", "1000"]


def test_what_the_container_makes_in_its_root_is_of_the_host_s_root(runtime: Runtime, box: Bundle) -> None:
    """With the ids of the root file system mapped, the host sees the files of the container's root as root's."""
    runtime.inside(box, "touch /tmp/made", *SANDBOX)
    assert (box.rootfs / "tmp/made").stat().st_uid == 0


def test_a_bundle_that_only_root_may_reach(runtime: Runtime, box: Bundle) -> None:
    """The runtime opens the root file system and the sources of mounts, not the init in its user namespace."""
    data = box.path / "data"
    data.mkdir()
    (data / "file").write_text("data\n")
    box.mount("/mnt", "bind", str(data), "bind")
    box.path.chmod(0o700)
    box.hook("createContainer", "/bin/sh", "sh", "-c", "test -e /etc/passwd")
    assert runtime.inside(box, "cat /mnt/file; ls /", *SANDBOX).split()[0] == "data"
    container = runtime.started(box.args("sleep", "100"), *SANDBOX)
    assert runtime("exec", container.id, "ls", "/").out.split() == sorted(os.listdir(box.rootfs))


def test_a_user_s_sandbox(rootless: RootlessRuntime, attacks: Path) -> None:
    """A user's root file system belongs to the user, who is the container's root."""
    bundle = rootless.bundle()
    shutil.copy(attacks, bundle.rootfs / "bin/attacks")
    (bundle.rootfs / "bin/attacks").chmod(0o755)
    names = [attack.name for attack in ATTACKS if attack.layer == SECCOMP]
    bundle.sh("id -u; cat /proc/self/uid_map; attacks " + " ".join(names))
    lines = rootless.run(bundle, *SANDBOX).out.splitlines()
    assert lines[0] == "0"
    assert lines[1].split() == ["0", str(UID), "1"]
    found = results("\n".join(line for line in lines[1:] if line.split()[0] in names))
    assert {found[name] for name in names} <= {EPERM, ENOSYS}


def test_a_user_s_sandbox_of_the_example(rootless: RootlessRuntime) -> None:
    """What `spec --rootless` writes has a bind mount of the host's /sys."""
    bundle = rootless.bundle()
    (bundle.path / "config.json").unlink(missing_ok=True)
    rootless("spec", "--rootless", "--bundle", bundle.path)
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.process["terminal"] = False
    bundle.sh("awk '$5 == \"/sys\" {print $6}' /proc/self/mountinfo; ls /sys/class/net")
    assert rootless.run(bundle, *SANDBOX).out.split() == ["ro,nosuid,nodev,noexec,relatime", "lo"]


def test_a_sandbox_of_the_root_of_a_user_namespace(rootless: RootlessRuntime) -> None:
    """unshare -Ur: its only id is the user's. No subordinate ids of the host are mapped there."""
    bundle = rootless.bundle().sh("id -u; cat /proc/self/uid_map /proc/self/gid_map")
    bundle.linux["namespaces"] = [each for each in bundle.linux["namespaces"] if each["type"] != "user"]
    for name in ("uidMappings", "gidMappings"):
        del bundle.linux[name]
    bundle.write()
    result = rootless("run", "--bundle", bundle.path, *SANDBOX, rootless.new_id(), inside=("unshare", "-Ur"))
    assert result.out.split() == ["0", "0", "0", "1", "0", "0", "1"], result


@pytest.mark.parametrize("network", ["none", "host"])
def test_what_takes_a_namespace_that_the_sandbox_adds(runtime: Runtime, box: Bundle, network: str) -> None:
    """hostname, paths, propagation and sysctls are refused without one."""
    box.linux["namespaces"] = []
    box.config["hostname"] = "boxed"
    box.linux["maskedPaths"] = ["/proc/keys"]
    box.linux["rootfsPropagation"] = "private"
    box.linux["sysctl"] = {"kernel.msgmax": "4096"}
    if network == "none":
        box.linux["sysctl"]["net.ipv4.ip_forward"] = "1"
    box.sh("hostname; cat /proc/sys/kernel/msgmax; cat /proc/sys/net/ipv4/ip_forward")
    out = runtime.run(box, *SANDBOX, "--network", network).out.split()
    assert out[:2] == ["boxed", "4096"]
    if network == "none":
        assert out[2] == "1"
    else:
        box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
        refused = runtime.refuse(box, *SANDBOX, "--network", network)
        assert "/linux/sysctl/net.ipv4.ip_forward" in refused.last_line
    plan = runtime("plan", "--bundle", box.path, *SANDBOX, "--network", network)
    assert plan.code == (network == "host")


def test_a_root_file_system_that_can_t_map_ids(runtime: Runtime, box: Bundle, private_mounts: None) -> None:
    layers, merged = box.path / "layers", box.path / "merged"
    layers.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "layers", layers], check=True)
    for directory in (layers / "upper", layers / "work", merged):
        directory.mkdir()
    options = f"lowerdir={box.rootfs},upperdir={layers}/upper,workdir={layers}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)
    try:
        box.config["root"]["path"] = "merged"
        box.write()
        result = runtime("run", "--bundle", box.path, *SANDBOX, runtime.new_id())
    finally:
        subprocess.run(["umount", merged, layers], check=True)
    if result.code:  # a later kernel may map the ids of overlay
        assert "on a file system that can't map ids" in result.last_line
        assert "at /root/path" in result.last_line


def test_programs_work(runtime: Runtime, box: Bundle) -> None:
    script = (
        "mkfifo /tmp/fifo && mkdir /tmp/d && mv /tmp/fifo /tmp/d/f && ls /tmp/d; echo x > /dev/null; "
        "test -c /dev/tty && head -c 4 /dev/urandom | wc -c; (echo sub); ip addr show lo | grep -c LOOPBACK; "
        "chown 5:5 /tmp/d; stat -c %u /tmp/d"
    )
    box.process["capabilities"] = sets(["CAP_CHOWN"])
    assert runtime.inside(box, script, *SANDBOX).split() == ["f", "4", "sub", "1", "5"]


@pytest.mark.parametrize("network", ["", "none", "host", "config"])
def test_the_network(runtime: Runtime, armed: Bundle, network: str) -> None:
    """The configuration has the caller's network. An abstract socket of the host is out of reach with it, too."""
    flags = [*SANDBOX, *(["--network", network] if network else [])]
    name = f"pyrunc-{runtime.token}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"\0" + name.encode())
        listener.listen()
        out = runtime.inside(armed, f"readlink /proc/self/ns/net; attacks abstract:{name}", *flags).split()
    own = os.readlink("/proc/self/ns/net")
    has_own = network in ("", "none")
    assert (out[0] != own) is has_own
    assert int(out[2]) == (errno.ECONNREFUSED if has_own else EPERM)


def test_bind_mounts_stay(runtime: Runtime, box: Bundle) -> None:
    data = box.path / "data"
    data.mkdir(mode=0o755)
    (data / "file").write_text("data\n")
    box.mount("/mnt", "bind", str(data), "bind")
    out = runtime.inside(box, "cat /mnt/file; grep ' /mnt ' /proc/self/mountinfo", *SANDBOX)
    assert out.splitlines()[0] == "data"
    assert "nosuid,nodev" in out


def test_options_of_a_tree_do_not_undo_the_sandbox(runtime: Runtime, box: Bundle, private_mounts: None) -> None:
    data = box.path / "data"
    (data / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", data / "below"], check=True)
    box.mount("/mnt", "bind", str(data), "rbind", "rsuid", "rdev")
    next(entry for entry in box.config["mounts"] if entry["type"] == "proc")["options"] = ["rsuid", "rexec"]
    try:
        out = runtime.inside(box, "grep -E ' (/mnt|/mnt/below|/proc) ' /proc/self/mountinfo", *SANDBOX)
    finally:
        subprocess.run(["umount", data / "below"], check=True)
    lines = out.splitlines()
    assert len(lines) == 3
    assert all("nosuid,nodev" in line for line in lines)
    assert all("noexec" in line for line in lines if " /proc " in line)


OPEN = {"defaultAction": "SCMP_ACT_ALLOW"}
DISK = {"path": "/dev/x", "type": "b", "major": 8, "minor": 0}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (lambda bundle: bundle.namespace("pid", "/proc/1/ns/pid"), "/linux/namespaces/"),
        (lambda bundle: bundle.mount("/x", "bind", "/proc", "rbind"), "/mounts/5/source"),
        (lambda bundle: bundle.linux.update(seccomp=OPEN), "/linux/seccomp/defaultAction"),
        (lambda bundle: bundle.linux.update(devices=[DISK]), "/linux/devices/0"),
    ],
)  # fmt: skip
def test_what_a_sandbox_can_t_have_is_refused(runtime: Runtime, box: Bundle, change: Any, pointer: str) -> None:
    change(box)
    result = runtime.refuse(box.args("true"), *SANDBOX)
    assert "in a sandbox" in result.last_line
    assert pointer in result.last_line


@pytest.mark.parametrize(
    "words",
    [("--isolation", "vm"), ("--network", "host"), (*SANDBOX, "--network", "x"), (*SANDBOX, "--no-pivot")],
)
def test_options_that_make_no_sense(runtime: Runtime, box: Bundle, words: tuple[str, ...]) -> None:
    runtime.refuse(box.args("true"), *words)


def test_a_profile_without_a_sandbox(runtime: Runtime, box: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(allowing("SCMP_ACT_ERRNO", "mkdir", errnoRet=errno.ENETDOWN)))
    out = runtime.inside(box, "mkdir /tmp/x 2>&1; true", "--seccomp-profile", str(file))
    assert "Network is down" in out
    file.write_text('{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["x"], "action": "no"}]}')
    result = runtime.refuse(box.args("true"), "--seccomp-profile", str(file))
    assert "at /syscalls/0/action" in result.last_line


def test_a_recorded_profile(runtime: Runtime, box: Bundle) -> None:
    """What `seccomp record` has seen is what a sandbox allows, and nothing more."""
    work = "cat /srv/file; echo written > /tmp/made; cat /tmp/made"
    box.sh(work).write()
    file = runtime.work / "recorded.json"
    done = runtime("seccomp", "record", box.path, "-o", file)
    assert done.code == 0, done
    flags = (*SANDBOX, "--seccomp-profile", str(file))
    assert runtime.run(box, *flags).out.split() == ["from", "the", "image", "written"]
    assert "mkdir" not in {name for rule in json.loads(file.read_text())["syscalls"] for name in rule["names"]}
    assert "not permitted" in runtime.run(box.sh("mkdir /tmp/d"), *flags, ok=False).err


def test_explain_names_what_the_sandbox_s_filter_refuses(runtime: Runtime, armed: Bundle) -> None:
    """In the life of a container, by the rule of the profile that the state directory keeps."""
    container = runtime.started(armed.sh("while true; do attacks chroot unshare; sleep 0.1; done"), *SANDBOX)
    found = json.loads(runtime("seccomp", "explain", container.id, "--seconds", "1", "--format", "json").out)
    refused = {(item["call"], item["errno"], item["pointer"]) for item in found["refused"]}
    assert refused == {(call, "EPERM", "/linux/seccomp/defaultAction") for call in ("chroot", "unshare")}


def test_the_plan_shows_it_and_verify_agrees(runtime: Runtime, box: Bundle) -> None:
    box.write()
    out = runtime("plan", *SANDBOX, "--bundle", box.path).out
    for word in ("landlock_restrict", "open_mapped_source", "no_new_privileges", "note: sandbox: /linux/seccomp: "):
        assert word in out
    assert "landlock" not in runtime("plan", "--bundle", box.path).out
    container = runtime.started(box.args("sleep", "100"), *SANDBOX)
    result = runtime("verify", container.id)
    assert result.code == 0, result
    ids = Path(f"/proc/{container.pid}/uid_map").read_text().split()
    assert ids[0] == "0"
    assert ids[2] == "65536"
    given = int(host.process_status(container.pid, "CapEff"), 16)
    assert given == sum(1 << CAPABILITIES.index(name) for name in sandbox.CAPABILITIES)


def test_two_sandboxes_have_ids_of_their_own(runtime: Runtime, box: Bundle) -> None:
    if any("containers:" in text or "root:" in text for text in map(_text, ("/etc/subuid", "/etc/subgid"))):
        pytest.skip("this host gives root a range, which may have room for one sandbox only")
    first = [runtime.started(box.args("sleep", "100"), *SANDBOX).pid for _ in range(3)]
    assert len({Path(f"/proc/{pid}/uid_map").read_text() for pid in first}) == 3


def _text(path: str) -> str:
    return Path(path).read_text() if os.path.exists(path) else ""
