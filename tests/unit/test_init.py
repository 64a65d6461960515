"""The init, without privileges: its protocol, its start, and the steps that any user may take."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.libcontainer.plan import wire
from pyrunc.libcontainer.plan.model import Step
from tests.support.host import wait_for
from tests.support.init import Launch, Outcome, build, plan_of, run, shell, step

# `make test-arm64` uses the init of arm64 under qemu-user instead, which passes its system calls on to this kernel.
ARM64 = bool(os.environ.get("PYRUNC_TEST_ARM64"))
VARIANTS = ("init-arm64",) if ARM64 else ("init", "init-asan")
RLIMIT_NOFILE = 7


@pytest.fixture(scope="module", params=VARIANTS)
def init(request: pytest.FixtureRequest) -> Path:
    return emulated(build(request.param)) if ARM64 else build(request.param)


def emulated(program: Path) -> Path:
    """A script that runs a program of arm64 under qemu-user, under the name that the runtime gives it."""
    emulator = shutil.which("qemu-aarch64-static")
    assert emulator is not None, "needs qemu-aarch64-static (package qemu-user-static)"
    script = program.with_name(f"{program.name}.sh")
    script.write_text(f"#!/bin/sh\nexec {emulator} -0 'pyrunc:[init]' {program} \"$@\"\n")
    script.chmod(0o755)
    return script


def skip_what_qemu_lacks(outcome: Outcome) -> None:
    """Skip if qemu-user lacks a call: it answers ENOSYS, in qemu 7 to openat2."""
    if ARM64 and outcome.error is not None and outcome.error.error == errno.ENOSYS:
        pytest.skip(f"this qemu-user lacks a system call: {outcome.error.detail[:60]}")


def ran(outcome: Outcome) -> str:
    """The program's output, if everything worked."""
    skip_what_qemu_lacks(outcome)
    assert outcome.error is None, outcome
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return outcome.out


def refused(outcome: Outcome, error: int, *words: str) -> None:
    """Assert that the plan failed with this errno, and that the detail has these words."""
    skip_what_qemu_lacks(outcome)
    assert outcome.error is not None, outcome
    assert outcome.code == 1
    assert outcome.error.error == error, outcome
    for word in words:
        assert word in outcome.error.detail, outcome


# -- the plan


def test_the_program_gets_its_arguments_and_its_environment(init: Path) -> None:
    program = step("execute", args=("/bin/sh", "-c", 'echo "$0:$1:$A"', "zero", "a b"), env=("A=x=y",))
    assert ran(run(init, program)) == "zero:a b:x=y\n"


def test_a_program_that_is_not_there_is_an_error_of_its_step(init: Path) -> None:
    outcome = run(init, step("no_new_privileges"), step("execute", args=("/no/such",)))
    refused(outcome, errno.ENOENT, "exec /no/such")
    assert outcome.error is not None
    assert outcome.error.step == 1


def test_a_plan_without_a_program_is_refused(init: Path) -> None:
    refused(run(init, step("no_new_privileges")), 0, "ends without a program")


BLOB = wire.encode(plan_of([step("umask", mask=7), shell("exit 0")]), {})


@pytest.mark.parametrize(
    "blob",
    [
        BLOB[:-1],
        BLOB[:-8],
        BLOB + b"\0",
        b"pyrunc-plan-2" + BLOB[13:],
        BLOB.replace(b"plan-1\x002\0", b"plan-1\x003\0"),
        BLOB.replace(b"plan-1\x002\0", b"plan-1\x00999999999\0"),
        BLOB.replace(b"plan-1\x002\x006\0", b"plan-1\x002\x007\0"),
        BLOB.replace(b"plan-1\x002\x006\0", b"plan-1\x002\x005\0"),
        BLOB.replace(b"\x007\0", b"\x004294967296\0"),
        BLOB.replace(b"\x007\0", b"\x00-1\0"),
        BLOB.replace(b"\x007\0", b"\0\0"),
        wire.encode(plan_of([shell("exit 0")]), {}, fault=(0, wire.FAULT_FAIL)),
        b"",
    ],
    ids=(
        "cut cut-more longer magic more-steps many-steps more-pointers fewer-pointers too-large negative empty-number "
        "fault empty"
    ).split(),
)
def test_a_plan_that_is_not_whole_is_refused_before_any_step(init: Path, blob: bytes) -> None:
    launch = Launch(init, blob)
    try:
        outcome = Outcome()
        launch.serve(outcome)
        refused(launch.finish(outcome), outcome.error.error if outcome.error else -1, "the launch plan is refused")
        assert outcome.error is not None
        assert outcome.error.step == wire.NO_STEP
    finally:
        launch.close()


def test_an_alternative_runs_where_the_step_before_it_failed_as_named(init: Path) -> None:
    missing = step("chdir", path="/no/such", on_errno=(errno.EACCES, errno.ENOENT))
    outcome = run(init, missing, step("chdir", fallback_level=1, path="/bin"), shell("pwd -P"))
    assert ran(outcome) == os.path.realpath("/bin") + "\n"


def test_an_alternative_is_skipped_where_the_step_before_it_succeeded(init: Path) -> None:
    there = step("chdir", path="/", on_errno=(errno.ENOENT,))
    assert ran(run(init, there, step("chdir", fallback_level=1, path="/no/such"), shell("pwd"))) == "/\n"


def test_an_alternative_of_a_skipped_step_is_skipped(init: Path) -> None:
    steps = (
        step("chdir", path="/no/such", on_errno=(errno.ENOENT,)),
        step("chdir", fallback_level=1, path="/", on_errno=(errno.ENOENT,)),
        step("chdir", fallback_level=2, path="/no/such/either"),
        step("chdir", path="/bin"),
        step("chdir", fallback_level=1, path="/no/third"),
    )
    assert ran(run(init, *steps, shell("true"))) == ""


def test_a_failure_that_is_not_named_ends_the_init(init: Path) -> None:
    missing = step("chdir", path="/no/such", on_errno=(errno.EPERM,))
    refused(run(init, missing, step("chdir", fallback_level=1, path="/"), shell("true")), errno.ENOENT, "/no/such")


def test_an_alternative_may_come_later(init: Path) -> None:
    missing = step("chdir", path="/no/such", on_errno=(errno.ENOENT,))
    steps = (missing, step("umask", mask=0o22), step("umask", mask=0o27), step("chdir", fallback_level=1, path="/bin"))
    assert ran(run(init, *steps, shell("pwd -P"))) == os.path.realpath("/bin") + "\n"


def test_a_failure_without_an_alternative_keeps_the_program_from_running(init: Path) -> None:
    missing = step("chdir", path="/no/such", on_errno=(errno.ENOENT,))
    refused(run(init, missing, step("umask", mask=0), shell("true")), 0, "no alternative made up for that")


def test_the_timeline_has_start_and_end_of_each_step_that_ran(init: Path) -> None:
    steps = (
        step("umask", mask=0o22),
        step("chdir", path="/"),
        step("chdir", fallback_level=1, path="/"),
        shell("true"),
    )
    blob = wire.encode(plan_of(steps), {}, timeline=True)
    outcome = run(init, *steps, timeline=True)
    ran(outcome)
    times = wire.decode_times(outcome.blob[wire.times_offset(len(blob)) :], len(steps))
    assert times[2] == (0, 0)
    (a, b), (c, d), _, (e, f) = times
    assert 0 < a <= b <= c <= d <= e
    assert f == 0  # the program's step has no end


@pytest.mark.parametrize("variant", ["init-faults", "init-asan-faults"])
def test_faults_are_injected_where_the_init_is_built_for_them(variant: str) -> None:
    program = build(variant)
    steps = (step("umask", mask=0), shell("true"))
    refused(run(program, *steps, fault=(1, wire.FAULT_FAIL)), errno.EIO, "injected")
    launch = Launch(program, wire.encode(plan_of(steps), {}, fault=(0, wire.FAULT_STOP)))
    try:
        _, status = os.waitpid(launch.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        launch.process.send_signal(signal.SIGCONT)
        launch.serve(Outcome())
        assert launch.process.wait(60) == 0
    finally:
        launch.close()


# -- the protocol


def test_requests_are_sent_in_order_and_wait_for_their_answers(init: Path) -> None:
    outcome = run(init, step("request", what="maps"), step("request", what="hooks"), step("ready"), shell("echo go"))
    assert ran(outcome) == "go\n"
    assert outcome.requests == ["maps", "hooks"]
    assert outcome.ready


def test_without_a_runtime_the_init_ends(init: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    launch = Launch(init, wire.encode(plan_of([step("request", what="maps"), shell(f"touch {trace}")]), {}))
    try:
        assert launch.message() is not None
        launch.sync.close()
        assert launch.process.wait(60) == 1
        assert not trace.exists()
    finally:
        launch.close()


def test_before_ready_the_init_dies_with_its_parent(init: Path) -> None:
    """The init of a killed runtime must not run on."""
    launch = Launch(init, wire.encode(plan_of([step("request", what="x"), shell("true")]), {}), namespaces=("--fork",))
    try:
        message = launch.message()
        assert message is not None
        launch.process.kill()  # unshare, the init's parent
        launch.process.wait()
        # when the init has ended, nobody holds the other end
        assert launch.message() is None
    finally:
        launch.close()


class Waiting:
    """A created container: an init that waits on its listener."""

    def __init__(self, init: Path, directory: Path, *steps: Step, orphan: bool = False) -> None:
        self.path = str(directory / "start.sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(8)
        plan = plan_of([*steps, step("ready"), step("await_start", listener="start"), shell("echo started")])
        slots = {"start": self.listener.fileno()}
        self.launch = Launch(
            init, wire.encode(plan, slots), namespaces=("--fork",) if orphan else (), fds=(self.listener.fileno(),)
        )
        message = self.launch.message()
        assert message is not None
        assert message.type == wire.READY, message.detail
        self.launch.answer()
        if orphan:
            self.launch.process.kill()  # unshare, the init's parent
            self.launch.process.wait()
        assert self.launch.message() is None  # the sync socket is closed: the init waits
        self.pid = self.launch.process.pid

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(60)
        connection.connect(self.path)
        return connection

    def close(self) -> None:
        self.launch.close()
        self.listener.close()


@pytest.fixture
def waiting(init: Path, tmp_path: Path) -> Iterator[Waiting]:
    if ARM64:
        pytest.skip("the plan of a waiting init opens the root, for which qemu-user lacks openat2")
    value = Waiting(init, tmp_path, step("make_cwd", path="/tmp"))  # this step opens the root
    yield value
    value.close()


def test_a_waiting_init_holds_its_streams_and_the_listener_only(waiting: Waiting) -> None:
    fds = sorted(map(int, os.listdir(f"/proc/{waiting.pid}/fd")))
    assert fds == [0, 1, 2, waiting.listener.fileno()]
    assert Path(f"/proc/{waiting.pid}/comm").read_text() == "pyrunc:[init]\n"


def test_start_is_one_byte_and_end_of_file_tells_that_the_program_runs(waiting: Waiting) -> None:
    with waiting.connect() as connection:
        connection.send(wire.START)
        assert connection.recv(100) == b""
    assert ran(waiting.launch.finish(Outcome())) == "started\n"


def test_after_ready_the_init_outlives_its_parent(init: Path, tmp_path: Path) -> None:
    waiting = Waiting(init, tmp_path, orphan=True)
    try:
        with waiting.connect() as connection:
            connection.send(wire.START)
            assert connection.recv(100) == b""
        wait_for("the program's output", lambda: os.fstat(waiting.launch.out.fileno()).st_size)
    finally:
        waiting.close()


def test_a_connection_that_says_nothing_starts_nothing(waiting: Waiting) -> None:
    waiting.connect().close()
    with waiting.connect() as connection:
        connection.send(b"?")
        assert connection.recv(100) == b""
    assert Path(f"/proc/{waiting.pid}/comm").read_text() == "pyrunc:[init]\n"
    with waiting.connect() as connection:
        connection.send(wire.START)
        assert connection.recv(100) == b""
    assert ran(waiting.launch.finish(Outcome())) == "started\n"


def test_an_init_that_cannot_accept_ends(init: Path, tmp_path: Path) -> None:
    waiting = Waiting(init, tmp_path, step("rlimit", resource=RLIMIT_NOFILE, soft=1, hard=1))
    try:
        waiting.connect().send(wire.START)
        assert waiting.launch.process.wait(60) == 1
    finally:
        waiting.close()


def test_an_error_after_the_start_goes_to_the_connection(init: Path, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = str(tmp_path / "s")
    listener.bind(path)
    listener.listen(1)
    plan = plan_of([step("await_start", listener="start"), step("execute", args=("/no/such",))])
    launch = Launch(init, wire.encode(plan, {"start": listener.fileno()}), fds=(listener.fileno(),))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(60)
    try:
        connection.connect(path)
        connection.send(wire.START)
        message = wire.decode_message(connection.recv(wire.MESSAGE_SIZE))
        assert (message.type, message.step, message.error) == (wire.ERROR, 1, errno.ENOENT)
        assert message.detail == "exec /no/such"
        assert launch.process.wait(60) == 1
    finally:
        launch.close()
        connection.close()
        listener.close()


def test_a_waiting_init_is_small(tmp_path: Path) -> None:
    waiting = Waiting(build("init"), tmp_path)
    try:
        lines = Path(f"/proc/{waiting.pid}/smaps_rollup").read_text().splitlines()
        pss = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        assert pss <= 88, f"{pss} KB"
    finally:
        waiting.close()


# -- the process


def test_signals_are_as_for_a_new_process(init: Path) -> None:
    if ARM64:
        pytest.skip("qemu-user itself ignores a signal")
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN), signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        out = ran(run(init, step("execute", args=("/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"))))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGPIPE, before[0])
        signal.signal(signal.SIGUSR1, before[1])
    assert out == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"


def test_umask_is_the_callers_or_the_steps(init: Path) -> None:
    before = os.umask(0o27)
    try:
        assert ran(run(init, shell("umask"))) == "0027\n"
        assert ran(run(init, step("umask", mask=0o71), shell("umask"))) == "0071\n"
    finally:
        os.umask(before)


def test_rlimit_and_no_new_privileges(init: Path) -> None:
    steps = (step("rlimit", resource=4, soft=0, hard=0), step("no_new_privileges"))
    out = ran(run(init, *steps, shell("ulimit -c; grep NoNewPrivs /proc/self/status")))
    assert out == "0\nNoNewPrivs:\t1\n"


def test_an_impossible_rlimit_names_the_resource(init: Path) -> None:
    refused(run(init, step("rlimit", resource=99, soft=1, hard=1)), errno.EINVAL, "99")


def test_new_session(init: Path) -> None:
    out = ran(
        run(
            init,
            step("new_session"),
            shell(
                "read -r pid name state parent group session rest </proc/self/stat; "
                "echo $((session - $$)) $((group - $$))"
            ),
        )
    )
    assert out == "0 0\n"


def test_keep_fds_lets_no_other_descriptor_through(init: Path) -> None:
    """CVE-2024-21626: /proc/self/fd must have no descriptor of the host."""
    fds = [os.open("/", os.O_RDONLY) for _ in range(3)]
    try:
        low = min(fds)
        slots = {str(fd): fd for fd in fds}
        show = step("execute", args=("/bin/ls", "/proc/self/fd"))
        kept = ran(run(init, show, slots=slots)).split()
        assert set(map(str, fds)) <= set(kept)
        left = set(map(int, ran(run(init, step("keep_fds", first=low + 1), show, slots=slots)).split()))
        assert low in left
        assert not left & {fd for fd in fds if fd > low}
    finally:
        for fd in fds:
            os.close(fd)


def test_the_inits_own_descriptors_do_not_reach_the_program(init: Path) -> None:
    out = ran(run(init, step("home", uid=0), step("execute", args=("/bin/ls", "/proc/self/fd"))))
    assert out.split() == ["0", "1", "2", "3"]  # 3 is ls's own


def test_a_descriptor_of_the_plan_does_not_reach_the_program(init: Path) -> None:
    fd = os.open("/", os.O_RDONLY)
    try:
        there = step("chdir", path="/", on_errno=(errno.ENOENT,))
        skipped = step("bind", fallback_level=1, source_fd="source:0")
        show = step("execute", args=("/bin/ls", "/proc/self/fd"))
        assert str(fd) not in ran(run(init, there, skipped, show, slots={"source:0": fd})).split()
    finally:
        os.close(fd)


def test_chdir_names_what_is_missing(init: Path) -> None:
    refused(run(init, step("chdir", path="/no/such")), errno.ENOENT, 'chdir to cwd ("/no/such")')


def test_oom_score_adj(init: Path) -> None:
    assert ran(run(init, step("oom_score_adj", value=900), shell("cat /proc/self/oom_score_adj"))) == "900\n"
    refused(run(init, step("oom_score_adj", value=5000)), errno.EINVAL, "oom_score_adj")


def test_sysctl_that_is_not_there(init: Path) -> None:
    refused(run(init, step("sysctl", path="kernel/no_such", value="1")), errno.ENOENT, "/proc/sys/kernel/no_such")


@pytest.mark.parametrize("path", ["../self/comm", "kernel/../../self/comm", "/etc/passwd"])
def test_sysctl_stays_below_proc_sys(init: Path, path: str, tmp_path: Path) -> None:
    outcome = run(init, step("sysctl", path=path, value="hostile"), shell("true"))
    assert outcome.error is not None, outcome


# -- the program


def test_a_name_is_looked_for_in_path(init: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tool").mkdir()  # a directory is no program
    for name in ("b", "c", "d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text(f"#!/bin/sh\necho {name}\n")
        (tmp_path / name / "tool").chmod(0o644 if name == "b" else 0o755)
    path = ":".join(str(tmp_path / name) for name in "xabcd")
    found = step("find_executable", name="tool", path=path)
    # root may execute a file with any execute bit: b has none
    assert ran(run(init, found, step("execute", args=("tool",)))) == "c\n"


@pytest.mark.parametrize("path", ["/no/such:/etc", "", "/no/such"])
def test_a_name_that_is_not_in_path(init: Path, path: str) -> None:
    outcome = run(init, step("find_executable", name="tool", path=path))
    refused(outcome, 0)
    assert outcome.error is not None
    assert outcome.error.detail == 'exec: "tool": executable file not found in $PATH'


def test_a_program_by_its_path(init: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    refused(run(init, step("find_executable", name="/no/such")), errno.ENOENT, 'exec: "/no/such": stat /no/such')
    refused(run(init, step("find_executable", name=str(plain))), errno.EACCES, f'exec: "{plain}"')
    refused(run(init, step("find_executable", name="/etc")), errno.EISDIR, 'exec: "/etc"')
    refused(run(init, step("find_executable", name="/" * 4096)), errno.ENAMETOOLONG, 'exec: "//')


def test_a_program_in_the_working_directory_is_not_found_by_its_name(init: Path, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    steps = (step("chdir", path=str(tmp_path)), step("find_executable", name="tool", path="/no/such:"))
    refused(run(init, *steps), 0, "cannot run executable found relative to current directory")


# -- hooks


def hook(
    path: Path | str, *args: str, timeout: int = 0, env: tuple[str, ...] = (), cwd: Path | str = "", home: int = 0
) -> Step:
    return step(
        "container_hook",
        hook="createContainer",
        path=str(path),
        args=args or (str(path),),
        env=env,
        timeout=timeout,
        state_head='{"id":"x","pid":',
        state_tail=',"bundle":"/b"}',
        cwd=str(cwd),
        home=home,
    )


def script(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_a_hook_gets_the_state_its_arguments_and_exactly_its_environment(init: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tool = script(tmp_path / "hook", f"{{ cat; echo; echo $0 $1; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL=; }} >{out}\n")
    launch_steps = (hook(tool, "zero", "one", env=("PATH=/bin:/usr/bin", "A=b")), shell("echo $$"))
    pid = ran(run(init, *launch_steps)).strip()
    state, line, *env = out.read_text().splitlines()
    assert state == f'{{"id":"x","pid":{pid},"bundle":"/b"}}'
    assert line == f"{tool} one"
    assert sorted(env) == ["A=b", "PATH=/bin:/usr/bin"]


def test_a_hook_has_the_umask_of_the_caller_or_of_the_step(init: Path, tmp_path: Path) -> None:
    before = os.umask(0o27)
    try:
        first = hook("/bin/sh", "sh", "-c", f": >{tmp_path}/first")
        second = hook("/bin/sh", "sh", "-c", f": >{tmp_path}/second")
        ran(run(init, first, step("umask", mask=0o72), second, shell("true")))
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("first", "second")] == [0o640, 0o604]


def test_a_hook_without_environment_has_none(init: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # the shell gets the environment as it was given, and may add to it
    tool = hook("/bin/sh", "sh", "-c", f"cat /proc/$$/environ >{out}")
    assert run(init, tool, shell("true")).error is None
    assert out.read_text() == ""


def hook_failure(init: Path, path: str | Path, timeout: int = 0) -> str:
    """The init's message for a failed hook, with T for its time."""
    outcome = run(init, hook(str(path), timeout=timeout), shell("true"))
    assert outcome.error is not None
    assert (outcome.error.step, outcome.error.error) == (0, 0)
    return re.sub(r" after \d+\.\d{3} s", " after T s", outcome.error.detail)


def test_a_failed_hook_tells_its_status_its_time_and_its_output(init: Path, tmp_path: Path) -> None:
    tool = script(tmp_path / "hook", "echo said; echo complained >&2; exit 3\n")
    assert hook_failure(init, tool) == "exit status 3 after T s, stdout: said, stderr: complained"


def test_the_time_of_a_failed_hook(init: Path, tmp_path: Path) -> None:
    outcome = run(init, hook(script(tmp_path / "hook", "sleep 1.05; exit 1\n")), shell("true"))
    assert outcome.error is not None
    found = re.match(r"exit status 1 after (\d+\.\d{3}) s, ", outcome.error.detail)
    assert found
    assert float(found[1]) >= 1.05


def test_a_killed_hook_tells_the_signal(init: Path, tmp_path: Path) -> None:
    tool = script(tmp_path / "hook", "echo x; kill -9 $$\n")
    assert hook_failure(init, tool) == "killed by signal 9 after T s, stdout: x, stderr: "


def test_a_hook_that_takes_too_long_is_killed(init: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    tool = script(tmp_path / "hook", f"echo $$ >{pid}.new; echo waiting >&2; mv {pid}.new {pid}; exec sleep 1000\n")
    while not pid.exists():  # on a busy machine its second may pass before it says something
        text = hook_failure(init, tool, timeout=1)
    assert text == "hook ran past specified timeout of 1.0s, stdout: , stderr: waiting"
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"e\0r\0r\0\xff\x1b[0m", "e r r \ufffd\x1b[0m"),
        (b"a" * 3000 + b"\n" + b"b" * 2000 + b"\n", "…" + "b" * 2000),
        (b"c" * 1000 + b"\n" + b"d" * 3000 + b"\n", "…" + "d" * 2047),
        ("é".encode() * 2000 + b"x", "…" + "é" * 1023 + "x"),
        (b"first\n" + b"line\n" * 300_000 + b"last\n", "…" + "line\n" * 408 + "last"),
        (b"x" * 2048, "x" * 2048),
    ],
)
def test_the_end_of_what_a_hook_wrote_is_told(init: Path, tmp_path: Path, written: bytes, told: str) -> None:
    (tmp_path / "text").write_bytes(written)
    tool = script(tmp_path / "hook", f"cat {tmp_path}/text >&2; exit 1\n")
    assert hook_failure(init, tool).partition(", stderr: ")[2] == told


def test_a_hook_that_closes_its_streams_fails_all_the_same(init: Path, tmp_path: Path) -> None:
    tool = script(tmp_path / "hook", "echo before >&2; exec >&- 2>&-; sleep 0.1; exit 2\n")
    assert hook_failure(init, tool) == "exit status 2 after T s, stdout: , stderr: before"


@pytest.mark.parametrize(("rest", "timeout", "told"), [("exit 1", 0, "exit"), ("exec sleep 1000", 1, "hook ran past")])
def test_a_process_that_goes_on_writing_is_not_waited_for(
    init: Path, tmp_path: Path, rest: str, timeout: int, told: str
) -> None:
    """A process that a hook leaves behind may write faster than it is read."""
    pid = tmp_path / "pid"
    tool = script(tmp_path / "hook", f"yes >&2 & echo $! >{pid}; sleep 0.2; {rest}\n")

    def failure() -> str:
        pid.write_text("")
        try:
            text = hook_failure(init, tool, timeout)
        finally:
            # The process may have ended by SIGPIPE, since nobody reads any more.
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(pid.read_text()), signal.SIGKILL)
        assert text.startswith(told)
        return text

    # On a busy machine the hook may end before the process has written so much.
    wait_for("the end of what it wrote", lambda: ", stderr: …y\ny\n" in failure())


def test_a_missing_hook(init: Path) -> None:
    refused(run(init, hook("/no/hook"), shell("true")), errno.ENOENT, "fork/exec /no/hook")


def test_a_hook_may_write_much_read_nothing_and_leave_something_behind(init: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    tool = script(tmp_path / "hook", f"sleep 1000 & echo $! >{pid}; exec <&-; head -c 300000 /dev/zero | tr '\\0' x\n")
    outcome = run(init, hook(tool), shell("echo ok"))
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert ran(outcome) == "ok\n"


def test_a_hook_gets_no_descriptor_of_the_runtime(init: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fd = os.open("/", os.O_RDONLY)
    try:
        tool = hook("/bin/sh", "sh", "-c", f"/bin/ls /proc/self/fd >{out}")
        assert run(init, tool, shell("true"), slots={"x": fd}).error is None
    finally:
        os.close(fd)
    assert out.read_text().split() == ["0", "1", "2", "3"]


def test_the_program_has_its_home(init: Path) -> None:
    home = next(line.split(":")[5] for line in Path("/etc/passwd").read_text().splitlines() if line.startswith("root:"))
    show = step("execute", args=("/usr/bin/env",), env=("A=b",))
    assert ran(run(init, step("home", uid=0), show)) == f"A=b\nHOME={home}\n"
    assert ran(run(init, step("home", uid=3999999999), show)) == "A=b\nHOME=/\n"


def test_what_the_program_needs_stays_when_a_later_step_fails(init: Path, tmp_path: Path) -> None:
    """The program's path, its HOME and the reasons of failures are texts in one buffer."""
    tool = tmp_path / "tool"
    tool.write_text('#!/bin/sh\necho "$0 $HOME"\n')
    tool.chmod(0o755)
    steps = (
        step("chdir", path="/no/" + "x" * 200, on_errno=(errno.ENOENT,)),
        step("umask", fallback_level=1, mask=0),
        step("home", uid=3999999999),
        step("chdir", path="/no/" + "y" * 200, on_errno=(errno.ENOENT,)),
        step("umask", fallback_level=1, mask=0),
        step("find_executable", name="tool", path=f"/no/such:{tmp_path}"),
        step("chdir", path="/no/" + "z" * 200, on_errno=(errno.ENOENT,)),
        step("umask", fallback_level=1, mask=0),
    )
    assert ran(run(init, *steps, step("execute", args=("tool",)))) == f"{tool} /\n"
    refused(run(init, *steps, step("chdir", path="/no/such")), errno.ENOENT, "/no/such")


def test_texts_for_which_no_room_is_left_are_refused(init: Path) -> None:
    """A plan has at most one home; more of them must not write behind the buffer."""
    homes = [step("home", uid=3999999999)] * 1200
    refused(run(init, *homes, shell("exit 0")), errno.ENOMEM, "home")
