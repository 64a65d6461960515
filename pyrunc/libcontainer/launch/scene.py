"""The scene of a failed step: what was carried out, and the container's files, from which the cause is found that the
kernel's errno does not tell.

Only failures import this module. Its functions raise nothing: if they find no cause, errors.py has a hint.
"""

from __future__ import annotations

import errno
import posix

from ...errors import errno_text, pointer
from .. import saved_config
from ..kernel.fileio import read_file
from ..plan.host import LANDLOCK
from ..seccomp.checks import refusal
from ..spec import load
from ..statedir import open_directory
from .inside import FOUND, LOOP, NOT_DIRECTORY, Inside, of_config, of_plan
from .programs import Trouble, trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._generated.spec_types import Seccomp
    from ..plan.model import LaunchPlan, Step
    from ..seccomp.checks import Refusal
    from ..state import Record

# The calls of the init after it has loaded the filter, by the kind of the step. It watches a startContainer hook by
# poll(3), which is ppoll(2) on arm64.
_FILTERED = {
    "execute": "execve",
    "capabilities": "capset",
    "container_hook": "poll" if posix.uname().machine == "x86_64" else "ppoll",
}
_LANDLOCK = pointer("annotations", LANDLOCK)
# The rights that execve(2) needs, execute and read_file (kernel/landlock.py).
_EXECVE = 0b101
_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_NR_OPEN = "/proc/sys/fs/nr_open"
_NOFILE = 7
_CAP_SYS_RESOURCE = 24


class Scene:
    """plan: the plan that was carried out; None if it is gone. inside: the container's files; None if they are unknown.
    program: process.args[0]. path: its PATH. cwd: its working directory. profile: linux.seccomp, None for none.
    executable: the paths beneath which a Landlock ruleset allows an execve; None if none handles it."""

    __slots__ = ("cwd", "executable", "inside", "path", "plan", "profile", "program")

    def __init__(
        self,
        inside: Inside | None,
        program: str,
        path: str,
        cwd: str,
        profile: Seccomp | None,
        plan: LaunchPlan | None = None,
        executable: tuple[str, ...] | None = None,
    ) -> None:
        self.plan = plan
        self.executable = executable
        self.inside = inside
        self.program = program
        self.path = path
        self.cwd = cwd
        self.profile = profile


def of_launch(plan: LaunchPlan, pid: int = 0) -> Scene:
    """The scene of a launch. pid: that of the container's process, if the plan is one of `exec`."""
    program, path, cwd = "", "", "/"
    for step in plan.init:
        if step.kind == "find_executable":
            program, path = str(step.arg("name")), str(step.arg("path"))
        elif step.kind == "chdir":
            cwd = str(step.arg("path"))
    inside = Inside(f"/proc/{pid}/root") if pid else of_plan(plan)
    return Scene(inside, program, path, cwd, plan.profile, plan, _executable_by_plan(plan))


def of_created(directory: str, record: Record) -> Scene | None:
    """The scene of a `start`, from the saved part of the configuration and the bundle's config.json; None if that is
    gone."""
    place = open_directory(directory)
    if place is None:
        return None
    try:
        kept = saved_config.load(place)
        config = load.parse(record.bundle)
        inside = of_config(record.bundle, record.rootfs, config.get("mounts") or ())
        process = kept["process"]
        path = ""
        for entry in process.get("env") or ():
            if entry.startswith("PATH="):
                path = entry[5:]
        return Scene(
            inside,
            process["args"][0],
            path,
            process["cwd"],
            kept["linux"].get("seccomp"),
            executable=_executable_by_text(kept.get("annotations", {}).get(LANDLOCK, "")),
        )
    except Exception:  # the failure has to be reported even if the bundle is gone or damaged
        return None
    finally:
        place.close()


def of_filter(step: Step, error: int, scene: Scene) -> Trouble | None:
    """Whether the filter has refused the call of a step, which is made after the filter's load: by its rules, with the
    errno that was seen. None if it has not."""
    call = _FILTERED.get(step.kind)
    rule = refusal(scene.profile, call) if call and scene.profile else None
    if call is None or rule is None or rule.errno != error:
        return None
    if scene.plan is not None and step.kind != "execute" and not _is_loaded_before(scene.plan, step):
        return None
    return Trouble("", filter_refuses(rule, call), pointer=rule.pointer)


def filter_refuses(rule: Refusal, call: str) -> str:
    """The hint of a call of the init that the filter refuses."""
    return f"linux.seccomp refuses {call} ({rule.action}): its profile must allow it"


def _is_loaded_before(plan: LaunchPlan, step: Step) -> bool:
    """Whether the init loads the filter before a step."""
    for each in plan.init:
        if each is step or each.kind == "seccomp":
            return each.kind == "seccomp"
    return False


def find_cause(step: Step, error: int, scene: Scene) -> Trouble | None:
    """The cause of a failed step of the init; None if none is found. error: its errno."""
    filtered = of_filter(step, error, scene)
    if filtered is not None:
        return filtered
    if scene.inside is None:
        return None
    try:
        if step.kind in ("find_executable", "execute"):
            what = trouble(scene.inside, scene.program, scene.path, scene.cwd)
            if what is None and step.kind == "execute" and error == errno.EACCES and scene.executable is not None:
                return of_landlock(scene.inside, scene.program, scene.path, scene.executable)
            if what is None or what.late != (step.kind == "execute"):
                return None
            return what if not error or what.message.endswith(errno_text(error)) else None
        if step.kind in ("chdir", "make_cwd"):
            return of_directory(scene.inside, str(step.arg("path")))
        if step.kind == "bind" and scene.plan is not None:
            before = of_plan(scene.plan, step)
            return of_bind(str(step.arg("source")), before, str(step.arg("target")), error)
        if step.kind == "remount" and error == errno.EINVAL and scene.plan is not None:
            return of_remount(of_plan(scene.plan, step), str(step.arg("target")))
    except OSError:
        return None
    return None


def of_landlock(inside: Inside, name: str, path: str, executable: tuple[str, ...]) -> Trouble | None:
    """Why an execve is refused under a Landlock ruleset. executable: the paths beneath which it allows execute and
    read_file; execve needs both."""
    places = [name] if "/" in name else [f"{directory}/{name}" for directory in path.split(":")]
    found = next((found for found in map(inside.find, places) if found.state == FOUND and not found.is_directory), None)
    if found is None:
        return None
    for allowed in executable:
        beneath = inside.find(allowed)
        if beneath.state == FOUND and (found.path + "/").startswith(beneath.path.rstrip("/") + "/"):
            hint = "does the Landlock ruleset allow execute and read_file for the interpreter that it names, too?"
            return Trouble("", hint, pointer=_LANDLOCK)
    hint = f"no rule of the Landlock ruleset allows execute and read_file, which it handles, for {found.path}"
    return Trouble("", hint, pointer=_LANDLOCK)


def _executable_by_plan(plan: LaunchPlan) -> tuple[str, ...] | None:
    """The paths beneath which the plan's Landlock ruleset allows an execve; None if it does not handle it."""
    needed = 0
    paths = []
    for step in plan.init:
        if step.kind == "landlock_ruleset":
            needed = int(str(step.arg("handled_fs"))) & _EXECVE
        elif step.kind == "landlock_path" and int(str(step.arg("access"))) & needed == needed:
            paths.append(str(step.arg("path")))
    return tuple(paths) if needed else None


def _executable_by_text(text: str) -> tuple[str, ...] | None:
    """The same by the annotation; None without one."""
    if not text:
        return None
    from ..spec.landlock import bits, read

    ruleset = read(text)[0]
    needed = bits(ruleset.fs) & _EXECVE
    if not needed:
        return None
    return tuple([str(rule.object) for rule in ruleset.paths if rule.access & needed == needed])


def of_directory(inside: Inside, path: str) -> Trouble | None:
    """Why a path of the container can't be the working directory."""
    found = inside.find(path)
    if found.state == LOOP:
        return Trouble("", f"{found.link} is a loop of symbolic links")
    if found.state == NOT_DIRECTORY or (found.state == FOUND and not found.is_directory):
        return Trouble("", f"{path} is a file in the container, not a directory")
    return None


def of_bind(source: str, inside: Inside | None, target: str, error: int = 0) -> Trouble | None:
    """Why a bind mount's source can't be mounted on its destination."""
    missing = missing_part(source)
    if missing:
        return Trouble("", missing)
    if inside is None or error not in (0, errno.ENOTDIR, errno.EINVAL):
        return None
    found = inside.find(target)
    if found.state != FOUND:
        return None
    is_directory = posix.stat(source).st_mode & _S_IFMT == _S_IFDIR
    if is_directory and not found.is_directory:
        return Trouble("", f"{source} is a directory, and {found.path} in the container a file")
    if not is_directory and found.is_directory:
        return Trouble("", f"{source} is a file, and {found.path} in the container a directory")
    return None


def of_remount(inside: Inside | None, target: str) -> Trouble | None:
    """Why a mount can't be changed: nothing is mounted there. None if something may be mounted."""
    if inside is None:
        return None
    found = inside.find(target)
    if found.state != FOUND or found.path in ("", "/") or found.path in inside.mounts:
        return None
    return Trouble("", f"nothing is mounted at {target}: remount changes what an earlier entry of mounts has mounted")


def missing_part(path: str) -> str:
    """The first missing part of a path of the host, in words; "" if the path exists, or if that is unknown."""
    try:
        posix.stat(path)
    except FileNotFoundError:
        parts = path.split("/")
        for end in range(2, len(parts) + 1):
            part = "/".join(parts[:end])
            try:
                posix.stat(part)
            except FileNotFoundError:
                try:
                    return f"{part} is a symbolic link to {posix.readlink(part)}, which is not on the host"
                except OSError:
                    return f"{part} is not on the host"
            except OSError:
                return ""
    except NotADirectoryError:
        return f"a part of {path} is a file, not a directory"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"{path} is a loop of symbolic links on the host"
    return ""


def near(word: str, words: Iterable[str]) -> str:
    """The first of some words that differs from a word by one typing error; "" for none."""
    for known in words:
        if len(known) > 2 and abs(len(known) - len(word)) < 2 and _is_near(word, known):
            return known
    return ""


def _is_near(one: str, other: str) -> bool:
    """Whether two words differ by one letter more, less or other, or by two letters that have changed places."""
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    rest, target = one[at:], other[at:]
    swapped = rest[1:2] + rest[:1] + rest[2:]
    return target in (rest[1:], swapped) or rest[1:] == target[1:] or rest == target[1:]


def may_execute(path: str) -> bool:
    """Whether a file of the host has an execute bit. True also if that is unknown."""
    try:
        mode = posix.stat(path).st_mode
    except OSError:
        return True
    return mode & _S_IFMT != _S_IFDIR and bool(mode & 0o111)


def limit_refused(resource: int, hard: int) -> str:
    """Why a hard limit can't be set, by this process's own hard limit; "" if that is not the reason."""
    from ..kernel.privileges import capabilities

    try:
        if resource == _NOFILE and hard > int(read_file(_NR_OPEN)):
            return f"the kernel allows at most {read_file(_NR_OPEN).strip()} open files ({_NR_OPEN})"
        own = own_limit(resource)
    except (OSError, ValueError, IndexError):
        return ""
    if own is None or hard <= own or capabilities() >> _CAP_SYS_RESOURCE & 1:
        return ""
    return f"the runtime's own hard limit is {own}, and it lacks CAP_SYS_RESOURCE"


# The lines of /proc/PID/limits, in the order of the limits' numbers (proc(5), getrlimit(2)).
_LINES = (
    "Max cpu time", "Max file size", "Max data size", "Max stack size", "Max core file size", "Max resident set",
    "Max processes", "Max open files", "Max locked memory", "Max address space", "Max file locks",
    "Max pending signals", "Max msgqueue size", "Max nice priority", "Max realtime priority", "Max realtime timeout",
)  # fmt: skip


def own_limit(resource: int) -> int | None:
    """This process's own hard limit; None for none. Raises OSError, ValueError."""
    for line in read_file("/proc/self/limits").split("\n"):
        if line.startswith(_LINES[resource]):
            hard = line[len(_LINES[resource]) :].split()[1]
            return None if hard == "unlimited" else int(hard)
    return None
