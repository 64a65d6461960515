"""`process`, `hostname` and `domainname`, as the program sees them."""

from __future__ import annotations

import json
import os
import resource
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


def test_args_reach_the_program_as_they_are(runtime: Runtime, bundle: Bundle) -> None:
    words = ["", "two words", "quote'\"", "$HOME", "*", "ü", "line\nbreak", "x" * 5000]
    bundle.args("/bin/sh", "-c", 'for word in "$@"; do echo "<$word>"; done', "zero", *words)
    assert runtime.run(bundle).out == "".join(f"<{word}>\n" for word in words)


def test_a_thousand_args(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("/bin/sh", "-c", "echo $#", "zero", *["word"] * 1000)
    assert runtime.run(bundle).out == "1000\n"


def test_env_is_the_config_s_and_nothing_else(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = ["PATH=/bin", "A=1", "EMPTY=", "SPACE= x ", "EQUALS=a=b", "HOME=/somewhere"]
    out = runtime.run(bundle.args("env"), env={"FROM_THE_HOST": "1"}).out
    assert out.splitlines() == ["PATH=/bin", "A=1", "EMPTY=", "SPACE= x ", "EQUALS=a=b", "HOME=/somewhere"]


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/tester"), (4242, "/")])
def test_home_is_taken_from_the_image_s_passwd(runtime: Runtime, bundle: Bundle, uid: int, home: str) -> None:
    bundle.process["user"] = {"uid": uid, "gid": 0}
    assert runtime.inside(bundle, "echo $HOME") == home + "\n"


def test_the_later_of_two_variables_wins(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] += ["TWICE=first", "TWICE=second"]
    assert runtime.inside(bundle, "echo $TWICE") == "second\n"


@pytest.mark.parametrize("name", ["echo", "/bin/echo", "../bin/echo", "./echo"])
def test_the_program_is_found_in_path_or_from_the_working_directory(
    runtime: Runtime, bundle: Bundle, name: str
) -> None:
    bundle.process["cwd"] = "/bin"
    assert runtime.run(bundle.args(name, "found")).out == "found\n"


def test_path_of_the_config_is_searched(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "opt").mkdir()
    for folder, word in (("opt", "first"), ("srv", "second")):
        program = bundle.rootfs / folder / "program"
        program.write_text(f"#!/bin/sh\necho {word}\n")
        program.chmod(0o755)
    bundle.process["env"] = ["PATH=/nowhere:/opt:/srv"]
    assert runtime.run(bundle.args("program")).out == "first\n"
    (bundle.rootfs / "opt/program").chmod(0o644)
    assert runtime.run(bundle).out == "second\n"


def test_missing_program(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.refuse(bundle.args("no-such-program"))
    assert "no-such-program" in result.last_line
    assert "executable file not found in $PATH" in result.last_line


def test_missing_program_by_path(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.refuse(bundle.args("/no/such/program"))
    assert "/no/such/program" in result.last_line
    assert "no such file or directory" in result.last_line


def test_program_that_may_not_be_executed(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.run(bundle.args("/etc/passwd"), ok=False)
    assert result.code != 0
    assert "permission denied" in result.last_line
    runtime.assert_nothing_left()


def test_program_of_no_known_format(runtime: Runtime, bundle: Bundle) -> None:
    """COMPAT: a failed execve is one line, `exec PATH: reason`."""
    program = bundle.rootfs / "bin/strange"
    program.write_bytes(b"\0\1\2\3")
    program.chmod(0o755)
    result = runtime.run(bundle.args("/bin/strange"), ok=False)
    assert result.code != 0
    assert "exec /bin/strange: exec format error" in result.err
    runtime.assert_nothing_left()


def test_script_whose_interpreter_is_missing(runtime: Runtime, bundle: Bundle) -> None:
    program = bundle.rootfs / "run.sh"
    program.write_text("#!/no/interpreter\n")
    program.chmod(0o755)
    result = runtime.run(bundle.args("/run.sh"), ok=False)
    assert "exec /run.sh: no such file or directory" in result.err


def test_working_directory(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/var/tmp"
    assert runtime.inside(bundle, "pwd; readlink /proc/self/cwd") == "/var/tmp\n/var/tmp\n"


def test_missing_working_directory_is_made(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/opt/a/b"
    assert runtime.inside(bundle, "pwd; stat -c '%a %u' /opt/a/b") == "/opt/a/b\n755 0\n"


def test_symlinked_working_directory_stays_inside(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "work").symlink_to("/../../../../var/tmp")
    bundle.process["cwd"] = "/work"
    assert runtime.inside(bundle, "readlink /proc/self/cwd") == "/var/tmp\n"


@pytest.mark.parametrize("cwd", ["relative", "", "./x"])
def test_working_directory_must_be_absolute(runtime: Runtime, bundle: Bundle, cwd: str) -> None:
    bundle.process["cwd"] = cwd
    result = runtime.refuse(bundle)
    if runtime.is_own:
        assert "/process/cwd" in result.last_line


def test_working_directory_that_only_the_user_may_enter(runtime: Runtime, bundle: Bundle) -> None:
    private = bundle.rootfs / "home/tester"
    os.chown(private, 1000, 1000)
    private.chmod(0o700)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["cwd"] = "/home/tester"
    del bundle.process["capabilities"]
    assert runtime.inside(bundle, "pwd; id -u") == "/home/tester\n1000\n"


def test_working_directory_that_the_user_may_not_enter(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "root").chmod(0o700)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["cwd"] = "/root"
    del bundle.process["capabilities"]
    bundle.sh("pwd").write()
    result = runtime.run(bundle, ok=False)
    # runc enters it as root first, as docker's users expect; in both cases the user can read nothing there.
    assert result.code != 0 or result.out == "/root\n"


def test_user_and_groups(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 2000, 70000]}
    out = runtime.inside(bundle, "cat /proc/self/status")
    assert host.status_field(out, "Uid").split() == ["1000"] * 4
    assert host.status_field(out, "Gid").split() == ["1001"] * 4
    assert host.status_field(out, "Groups").split() == ["5", "2000", "70000"]


def test_the_host_s_null_device_keeps_its_owner(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """Also if the container has an empty /dev of its own, and so no null device to compare with."""
    null = tmp_path / "null"
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (tmp_path / "dev").mkdir()
    bundle.mounts[:] = [{"destination": "/dev", "type": "bind", "source": str(tmp_path / "dev"), "options": ["rbind"]}]
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    with null.open("rb") as stdin:
        assert runtime.run(bundle.args("id", "-u"), stdin=stdin.fileno()).out == "1000\n"
    assert null.stat().st_uid == os.geteuid()


def test_the_caller_s_groups_are_dropped(runtime: Runtime, bundle: Bundle) -> None:
    prefix = ["setpriv", "--groups", "100,101"]
    result = runtime.run(bundle.sh("cat /proc/self/status"), prefix=prefix)
    assert host.status_field(result.out, "Groups") == ""


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o777])
def test_umask(runtime: Runtime, bundle: Bundle, mask: int) -> None:
    bundle.process["user"]["umask"] = mask
    assert host.status_field(runtime.inside(bundle, "cat /proc/self/status"), "Umask") == f"{mask:04o}"


def test_umask_is_022_by_default(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.run(bundle.sh("umask"), prefix=["sh", "-c", 'umask 077; exec "$@"', "sh"])
    assert result.out == "0022\n"


LIMITS = {
    "RLIMIT_AS": ("Max address space", 1 << 30),
    "RLIMIT_CORE": ("Max core file size", 0),
    "RLIMIT_CPU": ("Max cpu time", 1000),
    "RLIMIT_DATA": ("Max data size", 1 << 30),
    "RLIMIT_FSIZE": ("Max file size", 1 << 30),
    "RLIMIT_LOCKS": ("Max file locks", 99),
    "RLIMIT_MEMLOCK": ("Max locked memory", 65536),
    "RLIMIT_MSGQUEUE": ("Max msgqueue size", 8192),
    "RLIMIT_NICE": ("Max nice priority", 0),
    "RLIMIT_NOFILE": ("Max open files", 512),
    "RLIMIT_NPROC": ("Max processes", 1000),
    "RLIMIT_RSS": ("Max resident set", 1 << 30),
    "RLIMIT_RTPRIO": ("Max realtime priority", 0),
    "RLIMIT_RTTIME": ("Max realtime timeout", 100000),
    "RLIMIT_SIGPENDING": ("Max pending signals", 50),
    "RLIMIT_STACK": ("Max stack size", 4 << 20),
}


def test_rlimits(runtime: Runtime, bundle: Bundle) -> None:
    """Only lowered: raising a hard limit needs CAP_SYS_RESOURCE. Soft is one below hard if possible."""
    bundle.process["rlimits"] = [
        {"type": name, "soft": max(value - 1, 0), "hard": value} for name, (_, value) in LIMITS.items()
    ]
    out = runtime.inside(bundle, "cat /proc/self/limits")
    for line, value in LIMITS.values():
        found = next(text for text in out.splitlines() if text.startswith(line + " "))
        assert found[len(line) :].split()[:2] == [str(max(value - 1, 0)), str(value)], found


def test_rlimit_of_the_host_is_inherited_where_none_is_given(runtime: Runtime, bundle: Bundle) -> None:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert runtime.inside(bundle, "ulimit -n") == f"{soft}\n"


@pytest.mark.parametrize(
    "limits",
    [
        [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}, {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        [{"type": "RLIMIT_NONSENSE", "soft": 10, "hard": 20}],
        [{"type": "RLIMIT_NOFILE", "soft": 30, "hard": 20}],
    ],
)
def test_rlimits_that_are_refused(runtime: Runtime, bundle: Bundle, limits: list[dict[str, Any]]) -> None:
    if limits[0]["soft"] != 30 and not runtime.is_own and len(limits) == 2:
        pytest.skip("not of runc: it takes the last of two")
    bundle.process["rlimits"] = limits
    result = runtime.refuse(bundle)
    if runtime.is_own:
        assert "/process/rlimits" in result.last_line


def test_oom_score_adj(runtime: Runtime, bundle: Bundle) -> None:
    """Raised: lowering it needs CAP_SYS_RESOURCE."""
    bundle.process["oomScoreAdj"] = 321
    assert runtime.inside(bundle, "cat /proc/self/oom_score_adj") == "321\n"


def test_oom_score_adj_is_inherited_where_none_is_given(runtime: Runtime, bundle: Bundle) -> None:
    prefix = ["sh", "-c", 'echo 55 > /proc/self/oom_score_adj; exec "$@"', "sh"]
    assert runtime.run(bundle.sh("cat /proc/self/oom_score_adj"), prefix=prefix).out == "55\n"


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(runtime: Runtime, bundle: Bundle, value: bool) -> None:
    bundle.process["noNewPrivileges"] = value
    out = runtime.inside(bundle, "cat /proc/self/status")
    assert host.status_field(out, "NoNewPrivs") == str(int(value))


def test_standard_streams_are_the_users(runtime: Runtime, bundle: Bundle) -> None:
    """The process may open /dev/stdout again, as programs do with a log file of that name."""
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    del bundle.process["capabilities"]
    container = runtime.container(bundle.sh("echo reopened > /dev/stdout"))
    container.start()
    container.wait()
    assert container.output == "reopened\n"


def test_dev_null_keeps_its_owner(runtime: Runtime, bundle: Bundle) -> None:
    before = os.stat("/dev/null")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    with open(os.devnull) as null:
        runtime.run(bundle.sh("true"), stdin=null.fileno())
    after = os.stat("/dev/null")
    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)


def test_signals_are_as_a_shell_leaves_them(runtime: Runtime, bundle: Bundle) -> None:
    """No signal is blocked or ignored, not even SIGPIPE, which Python ignores."""
    out = runtime.run(bundle.args("cat", "/proc/self/status")).out
    assert int(host.status_field(out, "SigBlk"), 16) == 0
    assert int(host.status_field(out, "SigIgn"), 16) == 0


def test_session_of_its_own(runtime: Runtime, bundle: Bundle) -> None:
    fields = runtime.run(bundle.args("cat", "/proc/self/stat")).out.rpartition(")")[2].split()
    # process group and session: its own pid, 1
    assert fields[2:4] == ["1", "1"]


def test_process_name_and_parent(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.run(bundle.args("cat", "/proc/self/status")).out
    assert host.status_field(out, "Name") == "cat"
    assert host.status_field(out, "Pid") == "1"
    assert host.status_field(out, "PPid") == "0"


def test_hostname_and_domainname(runtime: Runtime, bundle: Bundle) -> None:
    here = os.uname().nodename
    bundle.config["hostname"] = "a-host"
    if runtime.is_own:  # runc knows domainname since 1.2
        bundle.config["domainname"] = "a.domain"
    out = runtime.inside(bundle, "hostname; uname -n; cat /proc/sys/kernel/domainname")
    assert out.split()[:2] == ["a-host", "a-host"]
    if runtime.is_own:
        assert out.split()[2] == "a.domain"
    assert os.uname().nodename == here


@pytest.mark.parametrize("field", ["hostname", "domainname"])
def test_names_need_a_uts_namespace(runtime: Runtime, bundle: Bundle, field: str) -> None:
    if field == "domainname" and not runtime.is_own:
        pytest.skip("not of runc 1.1: domainname came with 1.2")
    before = Path("/proc/sys/kernel/hostname").read_text(), Path("/proc/sys/kernel/domainname").read_text()
    bundle.config[field] = "name"
    bundle.without_namespace("uts")
    result = runtime.refuse(bundle)
    if runtime.is_own:
        assert "/" + field in result.last_line
    assert before == (
        Path("/proc/sys/kernel/hostname").read_text(),
        Path("/proc/sys/kernel/domainname").read_text(),
    )


def test_process_without_args_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["args"] = []
    runtime.refuse(bundle)
    del bundle.process["args"]
    runtime.refuse(bundle)


@pytest.mark.own("it panics on null")
def test_config_that_is_no_json(runtime: Runtime, bundle: Bundle) -> None:
    bundle.write()
    for text in ("", "{", "[]", '{"ociVersion": "1.0.2",}', "null", '"x"', "\xff"):
        (bundle.path / "config.json").write_text(text, encoding="latin-1")
        result = runtime("create", "--bundle", bundle.path, runtime.new_id())
        assert result.code == 1
        assert result.last_line
        assert "Traceback" not in result.err
    runtime.assert_nothing_left()


@pytest.mark.own("its JSON names are Go's, case and all")
def test_unknown_properties_are_ignored(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["x-extension"] = {"any": "thing"}
    bundle.process["something"] = 1
    bundle.linux["else"] = []
    assert runtime.run(bundle.args("echo", "ran")).out == "ran\n"


def test_members_for_other_platforms_are_warned_of(runtime: Runtime, bundle: Bundle) -> None:
    """runc ignores them silently."""
    bundle.process["user"]["username"] = "someone"
    bundle.config["windows"] = {"hyperv": {}}
    done = runtime.run(bundle.args("id", "-u"))
    assert done.out == "0\n"
    [line] = done.err.splitlines()
    assert "level=warning" in line
    assert "/process/user/username: it is for another platform and has no effect on Linux (nor have /windows)" in line


def test_utf8_with_escapes(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("echo", "ü€😀\u2028")
    bundle.write()
    (bundle.path / "config.json").write_text(json.dumps(bundle.config, ensure_ascii=False))
    assert runtime("run", "--bundle", bundle.path, runtime.new_id()).out == "ü€😀\u2028\n"
    (bundle.path / "config.json").write_text(json.dumps(bundle.config, ensure_ascii=True))
    assert runtime("run", "--bundle", bundle.path, runtime.new_id()).out == "ü€😀\u2028\n"


@pytest.mark.own("the words are pyrunc's")
@pytest.mark.parametrize(
    ("args", "env", "pointer"),
    [
        (["x" * 131_072], [], "/process/args/1"),
        ([], ["A=1", "B=" + "x" * 131_070], "/process/env/1"),
        ([], [f"A{n}={'x' * 100}" for n in range(100_000)], "/process/env"),
        (["x" * 100_000] * 70, [], "/process/args"),
        (["x" * 100_000] * 170, [], "/process/args"),  # more than a plan may have
    ],
)
def test_what_is_too_long_for_the_program_is_named(
    runtime: Runtime, bundle: Bundle, args: list[str], env: list[str], pointer: str
) -> None:
    bundle.process["env"] = env
    line = runtime.run(bundle.args("/bin/true", *args), ok=False).last_line
    assert ": argument list too long (" in line
    assert f"at {pointer};" in line


def test_as_many_texts_as_a_program_may_have(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = [f"A{n}=1" for n in range(100_000)]
    result = runtime.run(bundle.args("/bin/sh", "-c", "echo $A99999 ${#0}", "x" * 131_071))
    assert result.out == "1 131071\n"
