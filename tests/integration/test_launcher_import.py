"""The launcher with modules of a test frozen into it: its import statement, its exit, its errors."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A package `pyrunc` whose main does what argv[1] says. The core has only `posix.write` for output.
MODULES = {
    "__init__": "",
    "report": """
import posix

def say(*words):
    posix.write(1, (" ".join(map(str, words)) + "\\n").encode("utf-8", "surrogateescape"))
""",
    "main": """
import posix, sys
from .report import say

def imports():
    import pyrunc.sub.leaf
    from . import sub
    from .sub import leaf, VALUE
    from .sub.leaf import name as n
    from .sub.deep.below import up
    say(pyrunc.sub is sub, sub.leaf is leaf, pyrunc.sub.leaf.name == n, VALUE, up is leaf)
    say(leaf.__name__, sub.__name__)
    import sys as s, time, errno, _signal, _json
    say(s is sys, time.monotonic() > 0, errno.ENOENT, int(_signal.SIGTERM), _json.encode_basestring("x"))

def circle():
    from .sub import one
    say(one.two.one is one)

def absent():
    for statement in range(3):
        try:
            if statement == 0:
                from .sub import nothing
            elif statement == 1:
                from .sub.leaf import nothing
            else:
                __import__("os", {}, {}, (), 0)
        except ImportError as error:
            say(type(error).__name__)

def coding():
    for bad in (b"x\\xff".decode, "x\\udcff".encode):
        try:
            bad()
        except UnicodeError as error:
            say(type(error).__name__, error.start)

armed = False

def broken():
    global armed
    armed = True
    from . import sub
    if sys.modules.pop("pyrunc.sub.broken", None): # it is in the snapshot
        del sub.broken
    for _ in range(2):
        try:
            from .sub import broken
        except ZeroDivisionError:
            say("pyrunc.sub.broken" in sys.modules)

def wrong():
    for wrong in ((), (1, None, None, (), 0), ("x", None, None, (), -1), ("x", {"__package__": "pyrunc"}, {}, (), 1)):
        try:
            __import__(*wrong)
        except (TypeError, ValueError) as error:
            say(type(error).__name__)

def words(*rest):
    say(*rest)

def core():
    import builtins
    say(hasattr(builtins, "open"), hasattr(sys, "argv"), hasattr(sys, "stdout"), "_frozen_importlib" in sys.modules)

def environment():
    for name, value in sorted(posix.environ.items()):
        say(name.decode(), value.decode())

def hangup():
    import _signal
    posix.kill(posix.getpid(), _signal.SIGHUP)
    say("survived")

def many(count):
    kept = [(str(number) * 200, [number], {number: number}) for number in range(int(count))]
    say(len(kept), kept[-1][0] == str(len(kept) - 1) * 200)
    del kept
    text = b""
    while len(text) < 1 << 20:
        text += b"x" * 4099
    say(len(text))

def fail():
    raise ValueError("of the test")

def interrupted():
    import _signal
    posix.kill(posix.getpid(), _signal.SIGINT)
    while True:
        posix.sched_yield()

def pipe():
    read, write = posix.pipe()
    posix.close(read)
    try:
        posix.write(write, b"x")
    except BrokenPipeError:
        say("BrokenPipeError")

def cold():
    say("before")
    from .libcontainer.spec import inputs  # which the launcher asks for what it hands over
    from .cli.program import main

def code():
    return 42

def main(argv):
    return globals()[argv[1]](*argv[2:]) or 0
""",
    "cli/__init__": "",
    "libcontainer/__init__": "",
    "libcontainer/spec/__init__": "",
    "libcontainer/spec/inputs": "def hand_over():\n    return ''\n",
    "sub/__init__": "VALUE = 7\n",
    "sub/leaf": "name = 'leaf'\n",
    "sub/one": "from . import two\n",
    "sub/two": "from . import one\n",
    "sub/broken": "from .. import main\nif main.armed:\n    1 / 0\n",
    "sub/deep/__init__": "",
    "sub/deep/below": "from .. import leaf as up\n",
}


def is_shared(program: Path) -> bool:
    """Whether a launcher loads libpython when it starts."""
    return b"libpython" in subprocess.run(["ldd", program], check=False, capture_output=True).stdout


@pytest.fixture(scope="session", params=["snapshot", "untrimmed", "static", "shared"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher with MODULES in it, built with LAUNCHER_PYTHON as `make launcher` builds it.

    With a snapshot; with a snapshot and all of CPython's start; without a snapshot; with a shared libpython.
    """
    for tool in ("gcc", "make", "musl-gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    directory = tmp_path_factory.mktemp("frozen")
    for name, text in MODULES.items():
        path = directory / "pyrunc" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    build = directory / "build"
    words = [f"LAUNCHER_BUILD={build}", f"LAUNCHER_FREEZE=--root {directory}"]
    if request.param == "static":
        words.append("LAUNCHER_SNAPSHOT=")
    if request.param == "untrimmed":
        words.append("LAUNCHER_TRIMS=")
    if request.param == "shared":
        words.append("LAUNCHER_LINK=shared")
    result = subprocess.run(
        ["make", "-C", ROOT, *words, build / "pyrunc"],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    if request.param in ("snapshot", "untrimmed") and not (build / "pyrunc.section").exists():
        pytest.skip("a snapshot takes a static library of a version of CPython that LAUNCHER_PROVED has")
    if request.param == "static" and is_shared(build / "pyrunc"):
        pytest.skip("needs a static library of a version of CPython that LAUNCHER_PROVED has")
    return build / "pyrunc"


def run(program: Path, *words: str | bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *words], check=False, capture_output=True, stdin=subprocess.DEVNULL)


def lines(program: Path, *words: str | bytes) -> list[str]:
    """The output of a function of main, which must not fail."""
    result = run(program, *words)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.decode(errors="surrogateescape").splitlines()


def test_every_form_of_import(program: Path) -> None:
    assert lines(program, "imports") == [
        "True True True 7 True",
        "pyrunc.sub.leaf pyrunc.sub",
        'True True 2 15 "x"',
    ]


def test_modules_may_import_each_other(program: Path) -> None:
    assert lines(program, "circle") == ["True"]


def test_coding_errors_are_exceptions_without_a_codec_registry(program: Path) -> None:
    assert lines(program, "coding") == ["UnicodeDecodeError 1", "UnicodeEncodeError 1"]


def test_what_is_not_in_the_table_is_an_import_error(program: Path) -> None:
    assert lines(program, "absent") == ["ImportError", "ImportError", "ModuleNotFoundError"]


def test_a_module_that_fails_is_not_left_in_sys_modules(program: Path) -> None:
    assert lines(program, "broken") == ["False", "False"]


def test_wrong_calls_of_the_import_function(program: Path) -> None:
    assert lines(program, "wrong") == ["TypeError", "TypeError", "ValueError", "ValueError"]


def test_the_words_arrive_as_they_are(program: Path) -> None:
    assert lines(program, "words", "é", b"\xff\xfe", "", "a b") == ["é \udcff\udcfe  a b"]


def test_a_trimmed_start_has_the_core_alone(program: Path) -> None:
    if not (program.parent / "trims" / "core.o").exists():
        pytest.skip("this form starts all of CPython")
    assert lines(program, "core") == ["False False False False"]


def test_a_broken_pipe_is_an_exception(program: Path) -> None:
    assert lines(program, "pipe") == ["BrokenPipeError"]


def test_the_environment_is_that_of_the_process(program: Path) -> None:
    """The first of two values of a name counts, as for getenv; an entry without = is no variable."""
    environment = {"A": "1", "LISTEN_PID": "=x", "EMPTY": ""}
    result = subprocess.run(
        [program, "environment"], check=True, capture_output=True, env=environment, stdin=subprocess.DEVNULL
    )
    assert result.stdout.decode().splitlines() == ["A 1", "EMPTY ", "LISTEN_PID =x"]
    result = subprocess.run([program, "environment"], check=True, capture_output=True, env={}, stdin=subprocess.DEVNULL)
    assert result.stdout == b""


@pytest.mark.parametrize("ignored", [True, False])
def test_a_signal_that_is_ignored_stays_so(program: Path, ignored: bool) -> None:
    result = subprocess.run(
        [program, "hangup"], check=False, capture_output=True, stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )  # fmt: skip
    assert (result.returncode, result.stdout) == ((0, b"survived\n") if ignored else (-signal.SIGHUP, b""))


def test_memory_comes_and_goes(program: Path) -> None:
    """More memory than the program has at its start, in small objects and in large ones that grow."""
    assert lines(program, "many", "20000") == ["20000 True", str(-(-(1 << 20) // 4099) * 4099)]


def test_the_exit_code_is_what_main_returns(program: Path) -> None:
    assert run(program, "code").returncode == 42


def test_an_exception_is_printed_with_its_lines(program: Path) -> None:
    result = run(program, "fail")
    line = MODULES["main"].splitlines().index("def fail():") + 2
    *frames, last = result.stderr.decode().splitlines()
    assert frames[-1] == f"  pyrunc/main.py:{line}"
    assert last == "pyrunc: internal error: ValueError: of the test"
    assert result.returncode == 1


def test_an_interrupt_ends_it_as_a_signal_does(program: Path) -> None:
    result = subprocess.run(
        [program, "interrupted"], check=False, capture_output=True, stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    assert result.returncode == -signal.SIGINT
    assert result.stderr == b""


def test_a_cold_import_does_not_come_back(program: Path) -> None:
    result = run(program, "cold")
    assert result.stdout == b"before\n"
    assert result.returncode == 1
    assert b"can't start the ordinary build: " in result.stderr
