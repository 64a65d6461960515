"""The annotation org.pyrunc.landlock, by what the container's processes may do. The kernel's part needs its ABI."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.kernel import landlock
from pyrunc.libcontainer.plan.host import LANDLOCK, landlock_abi
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime
from tests.support.seccomp import allowing

ABI = landlock_abi()
ALL = [name for name, since in landlock.FS if since <= ABI]
READ = ["execute", "read_file", "read_dir"]
REFUSED = "Permission denied"

pytestmark = [
    pytest.mark.own("pyrunc's own annotation"),
    pytest.mark.skipif(ABI == 0, reason="the kernel has no Landlock"),
]


def needs(abi: int) -> pytest.MarkDecorator:
    return pytest.mark.skipif(abi > ABI, reason=f"needs Landlock ABI {abi}")


def beneath(paths: Iterable[str], *access: str) -> dict[str, Any]:
    return {"allowedAccess": list(access), "paths": list(paths)}


def bound(bundle: Bundle, *rules: dict[str, Any], handled: Iterable[str] = ALL, **more: Any) -> Bundle:
    """Set the annotation: these rights are handled, and these rules allow them beneath paths."""
    value = {"ruleset": {"handledAccessFS": list(handled)}, "rules": {"pathBeneath": list(rules)}, **more}
    bundle.config["annotations"] = {LANDLOCK: json.dumps(value)}
    return bundle


def wholly(bundle: Bundle, **ruleset: Any) -> Bundle:
    """Set an annotation that handles no files."""
    rules = ruleset.pop("rules", {})
    bundle.config["annotations"] = {LANDLOCK: json.dumps({"ruleset": ruleset, "rules": rules})}
    return bundle


def said(runtime: Runtime, bundle: Bundle, script: str, *flags: str) -> str:
    return runtime.inside(bundle, f"exec 2>&1; {script}; true", *flags)


def test_only_what_rules_allow(runtime: Runtime, bundle: Bundle) -> None:
    bound(bundle, beneath(["/bin", "/proc"], *READ), beneath(["/tmp"], "write_file", "make_reg", "read_dir"))
    out = said(runtime, bundle, "ls /etc; cat /srv/file; echo x > /tmp/new; ls /tmp; cat /tmp/new; mkdir /tmp/d")
    assert out.splitlines() == [
        f"ls: can't open '/etc': {REFUSED}",
        f"cat: can't open '/srv/file': {REFUSED}",
        "new",
        f"cat: can't open '/tmp/new': {REFUSED}",
        f"mkdir: can't create directory '/tmp/d': {REFUSED}",
    ]
    assert (bundle.rootfs / "tmp/new").read_text() == "x\n"


def test_mounts_count_by_where_the_container_sees_them(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """A rule for a path covers what is mounted there and beneath it, and only through the container's mounts."""
    source = bundle.path / "volume"
    source.mkdir()
    (source / "file").write_text("volume's\n")
    bundle.mount("/mnt/volume", "bind", str(source), "bind")
    bundle.mount("/srv", "tmpfs", "tmpfs")
    bound(bundle, beneath(["/bin"], *READ), beneath(["/mnt"], "read_file"))
    out = said(runtime, bundle, "cat /mnt/volume/file; touch /srv/x")
    assert out.splitlines() == ["volume's", f"touch: /srv/x: {REFUSED}"]


def test_symlinks_of_the_image_do_not_lead_out(runtime: Runtime, bundle: Bundle) -> None:
    outside = bundle.path / "outside"
    outside.mkdir()
    (bundle.rootfs / "out").symlink_to(outside)
    (bundle.rootfs / "up").symlink_to("../" * 40 + "etc")
    bound(bundle, beneath(["/bin"], *READ), beneath(["/up"], "read_file"))
    assert said(runtime, bundle, "cat /etc/os-release; cat /srv/file").splitlines() == [
        "ID=busybox", f"cat: can't open '/srv/file': {REFUSED}",
    ]  # fmt: skip
    bound(bundle, beneath(["/out"], "read_file"))
    result = runtime.refuse(bundle.args("true"))
    assert "at /annotations/org.pyrunc.landlock/rules/pathBeneath/0/paths/0" in result.last_line


@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("filtered", [False, True])
def test_with_and_without_privileges_and_a_filter(
    runtime: Runtime, bundle: Bundle, user_namespace: bool, no_new_privileges: bool, filtered: bool
) -> None:
    """Without no_new_privs the enforcement takes CAP_SYS_ADMIN, which the program does not get; a filter that forbids
    Landlock's calls does not forbid the init's."""
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    if user_namespace:
        bundle.user_namespace()
    if filtered:
        bundle.linux["seccomp"] = allowing("SCMP_ACT_KILL_PROCESS", "landlock_restrict_self", "landlock_create_ruleset")
    bound(bundle, beneath(["/bin", "/proc"], *READ))
    out = said(runtime, bundle, "cat /srv/file; grep -E 'CapEff|CapPrm|NoNewPrivs' /proc/self/status")
    lines = out.splitlines()
    assert lines[0] == f"cat: can't open '/srv/file': {REFUSED}"
    assert [line.split() for line in lines[1:]] == [
        ["CapPrm:", "0" * 16], ["CapEff:", "0" * 16], ["NoNewPrivs:", str(int(no_new_privileges))],
    ]  # fmt: skip


def test_create_and_start(runtime: Runtime, bundle: Bundle) -> None:
    bound(bundle, beneath(["/bin"], *READ))
    container = runtime.container(bundle.sh("exec 2>&1; cat /srv/file"))
    links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{container.pid}/fd")]
    assert "anon_inode:[landlock-ruleset]" in links
    assert not [link for link in links if link.endswith("/bin")]  # the descriptors of paths are closed
    assert REFUSED in container.finish()


def test_exec_is_bounded_by_the_same_rules(runtime: Runtime, bundle: Bundle) -> None:
    bound(bundle, beneath(["/bin"], *READ), beneath(["/tmp"], "write_file", "make_reg"))
    container = runtime.started(bundle.args("sleep", "100"))
    words = ("/bin/sh", "-c", "cat /srv/file; echo x > /tmp/by-exec; echo $?")
    result = runtime("exec", container.id, *words)
    assert (result.out, result.err) == ("0\n", f"cat: can't open '/srv/file': {REFUSED}\n")
    process = container.runtime.work / "process.json"
    process.write_text(json.dumps({"args": list(words), "cwd": "/", "env": ["PATH=/bin"]}))
    result = runtime("exec", "--process", process, container.id)
    assert REFUSED in result.err
    # The bundle's file no longer counts.
    bundle.config["annotations"] = {}
    bundle.write()
    assert REFUSED in runtime("exec", container.id, *words).err


def test_exec_where_the_container_has_removed_an_allowed_path(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "tmp/there").mkdir()
    bound(bundle, beneath(["/bin"], *READ), beneath(["/tmp/there"], *READ), beneath(["/tmp"], "remove_dir"))
    container = runtime.started(bundle.sh("rmdir /tmp/there; exec sleep 100"))
    host.wait_for("the directory to go", lambda: not (bundle.rootfs / "tmp/there").exists())
    result = runtime("exec", container.id, "cat", "/srv/file")
    assert REFUSED in result.err


def test_a_start_container_hook_is_bounded_too(runtime: Runtime, bundle: Bundle) -> None:
    bundle.hook("startContainer", "/bin/sh", "sh", "-c", "cat /srv/file")
    bound(bundle, beneath(["/bin"], *READ))
    result = runtime.run(bundle.args("true"), ok=False)
    assert result.code != 0
    assert REFUSED in result.last_line


@needs(3)
def test_truncate(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "tmp/f").write_text("content")
    bound(bundle, beneath(["/bin"], *READ), beneath(["/tmp"], "write_file", "read_file"))
    assert REFUSED in said(runtime, bundle, "true > /tmp/f")
    assert (bundle.rootfs / "tmp/f").read_text() == "content"


def accept_and_close(listener: socket.socket) -> None:
    """Take one connection and end it."""
    listener.accept()[0].close()


@needs(4)
def test_ports(runtime: Runtime, bundle: Bundle) -> None:
    """The container has this test's network namespace: a listener of the host's is there."""
    shut = socket.create_server(("127.0.0.1", 0))
    opened = socket.create_server(("127.0.0.1", 0))
    with shut, opened:
        port = opened.getsockname()[1]
        rules = {"netPort": [{"allowedAccess": ["connect_tcp"], "ports": [port]}]}
        wholly(bundle, handledAccessNet=["connect_tcp", "bind_tcp"], rules=rules)
        (bundle.rootfs / "bin/nc").symlink_to("busybox")
        # nc ends when its peer does.
        thread = threading.Thread(target=accept_and_close, args=(opened,), daemon=True)
        thread.start()
        out = said(
            runtime, bundle,
            f"nc 127.0.0.1 {port} </dev/null; "
            f"nc 127.0.0.1 {shut.getsockname()[1]} </dev/null; nc -l -p 0 </dev/null",
        )  # fmt: skip
        thread.join(60)
        assert not thread.is_alive(), "nobody has connected"
    assert out.count(REFUSED) == 2


@needs(5)
def test_ioctl_of_devices(runtime: Runtime, bundle: Bundle) -> None:
    bound(bundle, beneath(["/"], *[name for name in ALL if name != "ioctl_dev"]))
    out = said(runtime, bundle, "stty -F /dev/ptmx; stty -F /dev/ptmx size")
    assert REFUSED in out


@needs(6)
@pytest.mark.parametrize("scoped", [False, True])
def test_scopes(runtime: Runtime, bundle: Bundle, scoped: bool) -> None:
    """Signals to processes outside of the ruleset's domain, and abstract sockets that they have made."""
    if scoped:
        wholly(bundle, scoped=["signal", "abstract_unix_socket"])
    container = runtime.started(bundle.args("sleep", "100"))
    # A process of exec has a domain of its own: the container's first process is outside of it.
    script = "sleep 100 & kill -0 $! && echo own; kill -0 1 && echo first; kill $!"
    result = runtime("exec", container.id, "/bin/sh", "-c", script)
    assert result.out.split() == (["own"] if scoped else ["own", "first"])


def test_no_mount_under_a_ruleset_that_handles_files(runtime: Runtime, bundle: Bundle) -> None:
    """landlock(7): such a process can't change the file system topology."""
    for name in ("bounding", "effective", "permitted"):
        bundle.process["capabilities"][name] = [*bundle.process["capabilities"][name], "CAP_SYS_ADMIN"]
    assert said(runtime, bundle, "mount -t tmpfs x /mnt && echo mounted").split() == ["mounted"]
    bound(bundle, beneath(["/"], *ALL))
    assert "mounted" not in said(runtime, bundle, "mount -t tmpfs x /mnt && echo mounted")


BELOW = "/annotations/org.pyrunc.landlock/rules/pathBeneath"


@pytest.mark.parametrize(
    ("rules", "pointer", "words"),
    [
        ([beneath(["/bin", "/none"], "execute")], BELOW + "/0/paths/1", "open /none: no such file or directory"),
        ([beneath(["/bin"], "execute"), beneath(["/srv/file"], "read_dir")], BELOW + "/1/paths/0",
         "/srv/file is no directory"),
        ([beneath(["/proc/self/exe"], "execute")], BELOW + "/0/paths/0", "too many levels"),
        ([beneath(["/bin"], "execute"), beneath(["bin"], "execute")], BELOW + "/1/paths/0", "is not absolute"),
    ],
)  # fmt: skip
def test_a_rule_that_can_t_be_made_is_an_error_with_its_pointer(
    runtime: Runtime, bundle: Bundle, rules: list[dict[str, Any]], pointer: str, words: str
) -> None:
    result = runtime.refuse(bound(bundle, *rules).args("true"))
    assert words in result.last_line
    assert f"at {pointer}" in result.last_line


@pytest.mark.parametrize("command", ["run", "start", "exec"])
def test_a_program_that_may_not_be_executed_names_the_ruleset(runtime: Runtime, bundle: Bundle, command: str) -> None:
    rules = [beneath(["/bin"], "read_file"), beneath(["/srv"], "execute", "read_file")]
    bound(bundle, *rules, handled=["execute", "read_file"]).args("true")
    if command == "start":
        container = runtime.container(bundle)
        result = runtime("start", container.id)
    elif command == "run":
        result = runtime.run(bundle, ok=False)
    else:
        (bundle.rootfs / "srv/sleep").write_bytes((bundle.rootfs / "bin/busybox").read_bytes())
        (bundle.rootfs / "srv/sleep").chmod(0o755)
        container = runtime.started(bundle.args("/srv/sleep", "100"))
        result = runtime("exec", container.id, "/bin/true")
    assert result.code != 0
    assert "permission denied" in result.last_line
    assert "at /annotations/org.pyrunc.landlock" in result.last_line
    assert "no rule of the Landlock ruleset allows execute and read_file" in result.last_line


@pytest.mark.parametrize("strict", [False, True])
def test_what_the_kernel_lacks(runtime: Runtime, bundle: Bundle, strict: bool) -> None:
    """All of the newest ABI: on an older kernel a warning, or with `strict` an error; on this one or later neither."""
    handled = [name for name, _ in landlock.FS]
    flags = [name for name, _ in landlock.FLAGS]
    bound(bundle, beneath(["/"], *handled), handled=handled, flags=flags, strict=strict)
    result = runtime.run(bundle.args("true"), ok=False)
    if ABI >= landlock.NEWEST:
        assert (result.code, result.err) == (0, "")
    elif strict:
        assert "can't be enforced" in result.last_line
    else:
        assert result.code == 0
        assert "not enforced" in result.err


def test_verify_validate_and_plan_know_it(runtime: Runtime, bundle: Bundle) -> None:
    bound(bundle, beneath(["/bin"], *READ))
    container = runtime.started(bundle.args("sleep", "100"))
    result = runtime("verify", container.id)
    assert result.code == 0
    assert "the kernel does not tell which ruleset" in result.out
    assert "landlock_restrict" in runtime("plan", "--bundle", bundle.path).out
    bundle.config["annotations"] = {LANDLOCK: "{}", "org.pyrunc.landlok": "{}"}
    bundle.write()
    result = runtime("validate", bundle.path)
    assert result.code != 0
    assert "/annotations/org.pyrunc.landlock/ruleset: the ruleset handles nothing" in result.out + result.err
    assert "org.pyrunc.landlok is unknown" in result.out + result.err


def test_a_checkpoint_would_lose_it(runtime: Runtime, bundle: Bundle) -> None:
    bound(bundle, beneath(["/bin"], *READ))
    container = runtime.started(bundle.args("sleep", "100"))
    result = runtime("checkpoint", "--image-path", runtime.work / "images", container.id)
    assert "can't be checkpointed or restored" in result.last_line
    bundle.write()
    result = runtime("restore", "--image-path", runtime.work / "images", "--bundle", bundle.path, runtime.new_id())
    assert "can't be checkpointed or restored" in result.last_line
    assert container.status == "running"
