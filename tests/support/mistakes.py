"""Mistakes that people make, and what the runtime says of each: the table behind docs/errors.md.

Each mistake is made to a good bundle, or on a command line. `readable` replaces the parts of a message that depend on
the host or the moment by a placeholder, so that the page is the same everywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.bundle import Bundle

Edit = Callable[[Bundle], object]


class Mistake:
    """One mistake.

    title: the mistake, in a line. edit: the change of the good bundle; None if the mistake is on the command line.
    words: the command, in which `B` stands for the bundle, `ID` for a free id, `BOX` for a running container and `W`
    for an empty directory. says: text that the message must contain. foreseen: True if validate and plan find the
    mistake too; else the reason why they can't. host: the condition of the host under which this is a mistake.
    """

    def __init__(
        self,
        title: str,
        edit: Edit | None = None,
        words: str = "run -b B ID",
        *,
        says: str,
        foreseen: bool | str = True,
        host: Callable[[], bool] = lambda: True,
    ) -> None:
        self.title = title
        self.edit = edit
        self.words = words
        self.says = says
        self.foreseen = foreseen
        self.host = host

    @property
    def is_of_bundle(self) -> bool:
        """Whether the mistake is in the bundle, so that validate and plan can look for it."""
        return self.edit is not None


def put(path: str, value: Any) -> Edit:
    """Set the member of config.json at a path with dots. Numbers are indexes; the index behind the last item
    appends.
    """

    def edit(bundle: Bundle) -> None:
        holder: Any = bundle.config
        *above, last = path.split(".")
        for part in above:
            holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
        if isinstance(holder, list):
            holder.append(value)
        else:
            holder[last] = value

    return edit


def drop(path: str) -> Edit:
    """Remove a member of config.json."""

    def edit(bundle: Bundle) -> None:
        holder: Any = bundle.config
        *above, last = path.split(".")
        for part in above:
            holder = holder[part]
        del holder[last]

    return edit


def text(change: Callable[[str], str | bytes]) -> Edit:
    """Change the text of config.json after it is written."""

    def edit(bundle: Bundle) -> None:
        path = bundle.path / "config.json"
        found = change(json.dumps(bundle.config, indent=1))
        path.write_bytes(found.encode() if isinstance(found, str) else found)
        bundle.write = lambda name="config.json": None  # type: ignore[method-assign]

    return edit


def file(name: str, content: str, mode: int = 0o755) -> Edit:
    """A file in the rootfs, which becomes the program."""

    def edit(bundle: Bundle) -> None:
        (bundle.rootfs / name).write_text(content)
        (bundle.rootfs / name).chmod(mode)
        bundle.args("/" + name)

    return edit


def link(name: str, target: str, *args: str) -> Edit:
    """A symbolic link in the rootfs, which becomes the program."""

    def edit(bundle: Bundle) -> None:
        (bundle.rootfs / name).symlink_to(target)
        bundle.args(*args)

    return edit


def args(*words: str) -> Edit:
    """The program with its arguments."""
    return put("process.args", list(words))


def mount(destination: str, type: str, source: str, *options: str) -> Edit:
    """One more mount."""
    return lambda bundle: bundle.mount(destination, type, source, *options)


def namespace(type: str, path: str) -> Edit:
    """A namespace to join."""
    return lambda bundle: bundle.namespace(type, path)


def elf(bundle: Bundle) -> None:
    """A program that needs a dynamic linker, copied from the host into a rootfs that has no linker."""
    path = bundle.rootfs / "bin/program"
    path.write_bytes(Path("/bin/cat").read_bytes())
    path.chmod(0o755)
    bundle.args("program")


def seccomp(default: str, *allowed: str) -> Edit:
    """A profile."""
    return put(
        "linux.seccomp",
        {"defaultAction": default, "syscalls": [{"names": list(allowed), "action": "SCMP_ACT_ALLOW"}]},
    )


def landlock(text: str) -> Edit:
    """A ruleset as an annotation."""
    return put("annotations", {"org.pyrunc.landlock": text})


def policies(**members: Any) -> Edit:
    """A broker's configuration in the bundle, with one policy."""
    value = {"policies": {"default": members}} if members else {"policies": {}}
    return lambda bundle: (bundle.path / "broker.json").write_text(json.dumps(value))


def others(name: str) -> Edit:
    """A file of another name in the place of config.json."""

    def edit(bundle: Bundle) -> None:
        bundle.write(name)
        bundle.write = lambda name="config.json": None  # type: ignore[method-assign]

    return edit


def lacks(path: str) -> Callable[[], bool]:
    """Whether the host has no such file."""
    return lambda: not os.path.exists(path)


def has_no(controller: str) -> Callable[[], bool]:
    """Whether this is a hybrid host on which cgroup v2 has no such controller, and cgroup v1 has."""

    def holds() -> bool:
        try:
            listed = Path("/sys/fs/cgroup/unified/cgroup.controllers").read_text().split()
            groups = Path("/proc/cgroups").read_text().splitlines()
        except OSError:
            return False
        of_v1 = [line.split()[0] for line in groups if not line.startswith("#") and line.split()[1] != "0"]
        return controller not in listed and controller in of_v1

    return holds


SERVE = "broker --socket W/broker.sock --config B/broker.json"
NO_APPARMOR = lacks("/sys/module/apparmor")
NO_SELINUX = lacks("/sys/fs/selinux/enforce")
DATA = '{"architecture": "amd64", "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": []}}'

BUNDLES: tuple[Mistake, ...] = (
    # the program
    Mistake("program that is not in the container", args("nginx"), says="it is in none of"),
    Mistake("bash in an image that has sh only", args("bash", "-l"), says="the container has sh"),
    Mistake("command line as one word", args("echo hello"), says='["echo", "hello"]'),
    Mistake("path and its arguments as one word", args("/bin/echo hello"), says='["/bin/echo", "hello"]'),
    Mistake("path that is not in the container", args("/usr/local/bin/app"), says="is not in the container"),
    Mistake("environment without PATH", put("process.env", []), says="process.env has no PATH"),
    Mistake("PATH of another image", put("process.env", ["PATH=/nix/bin"]), says="none of the directories of PATH"),
    Mistake("file without permission to execute", file("app", "#!/bin/sh\n", 0o644), says="chmod a+x"),
    Mistake("directory as the program", args("/etc"), says="/etc is a directory"),
    Mistake("script whose interpreter is missing", file("run.sh", "#!/bin/bash\n"), says="/bin/bash, is not there"),
    Mistake("script with line ends of Windows", file("run.sh", "#!/bin/sh\r\necho\r\n"), says="carriage return"),
    Mistake("script without #!", file("run.sh", "echo hello\n"), says="neither a program (ELF) nor a script"),
    Mistake("empty program", file("app", ""), says="/app is empty"),
    Mistake("program without its dynamic linker", elf, says="the interpreter of /bin/program"),
    Mistake("loop of symbolic links", link("bin/app", "app", "app"), says="loop of symbolic links"),
    Mistake("dangling symbolic link", link("bin/app", "/opt/app", "app"), says="symbolic link to /opt/app"),
    Mistake("dangling symbolic link by its path", link("app", "/opt/app", "/app"), says="symbolic link to /opt/app"),
    Mistake("no arguments", put("process.args", []), says="args"),
    Mistake("environment as an object", put("process.env", {"PATH": "/bin"}), says="env must be an array"),
    Mistake("environment variable without a value", put("process.env", ["PATH=/bin", "DEBUG"]), says="NAME=VALUE"),
    Mistake("relative working directory", put("process.cwd", "app"), says="cwd must be"),
    Mistake("working directory that is a file", put("process.cwd", "/etc/passwd"), says="/etc/passwd is a file"),
    Mistake("user by name", put("process.user", {"username": "www", "uid": "www"}), says="uid must be"),
    # the bundle
    Mistake("rootfs that is missing", put("root.path", "root"), says="invalid rootfs"),
    Mistake("rootfs that is a file", put("root.path", "config.json"), says="invalid rootfs"),
    Mistake("root.path is missing", drop("root.path"), says="path is missing"),
    Mistake("root is missing", drop("root"), says="root is missing"),
    Mistake("member in other letters", lambda b: put("Process", b.config.pop("process"))(b), says="process"),
    Mistake("version of the specification that there is not", put("ociVersion", "2.0.0"), says="only 1.x is"),
    # JSON
    Mistake("empty config.json", text(lambda t: ""), says="the file is empty"),
    Mistake("config.json with a byte order mark", text(lambda t: "\ufeff" + t), says="byte order mark"),
    Mistake("config.json in UTF-16", text(lambda t: t.encode("utf-16")), says="UTF-16"),
    Mistake("quote that is not closed", text(lambda t: t.replace('"cwd": "/"', '"cwd": "/')), says="no closing double"),
    Mistake("comment", text(lambda t: t.replace("{", "{ // ours", 1)), says="comments are no JSON"),
    Mistake("comma behind the last member", text(lambda t: t.rstrip()[:-2] + ",\n}"), says="a comma behind the last"),
    Mistake("comma that is missing", text(lambda t: t.replace('"/",', '"/"')), says="a comma is missing"),
    Mistake("single quotes", text(lambda t: t.replace('"', "'")), says="single quotes"),
    Mistake("True of Python", text(lambda t: t.replace(": true", ": True")), says="did you mean true?"),
    Mistake("octal number", text(lambda t: t.replace('"cwd"', '"mode": 0755, "cwd"')), says="begins with 0"),
    Mistake("config.json that is cut off", text(lambda t: t.rsplit(",", 20)[0]), says="the file ends"),
    Mistake("configuration of an image", text(lambda t: DATA), says="an image's configuration"),
    Mistake("array as config.json", text(lambda t: "[]"), says="config must be an object"),
    # mounts
    Mistake("bind mount's source that is missing", mount("/mnt", "bind", "/data/app", "bind"), says="/data is not on"),
    Mistake("file on a directory", mount("/etc", "bind", "/etc/passwd", "bind"), says="a directory"),
    Mistake("directory on a file", mount("/etc/passwd", "bind", "/etc", "bind"), says="in the container a file"),
    Mistake("file system that the kernel does not know", mount("/mnt", "btrffs", "none"), says="no such file system"),
    Mistake("misspelt option", mount("/mnt", "tmpfs", "tmpfs", "nosuidd"), says="nosuid"),
    Mistake("file system made read-only by another word", mount("/mnt", "tmpfs", "tmpfs", "read-only"), says='"ro"'),
    Mistake("bind mount made read-only by another word", mount("/mnt", "", "/etc", "rbind", "readonly"), says='"ro"'),
    Mistake("size that is none", mount("/mnt", "tmpfs", "tmpfs", "size=lots"), says="size"),
    Mistake("mount without a type", mount("/mnt", "", "/etc"), says="has no type and is no bind mount"),
    Mistake("mount below a file", mount("/etc/passwd/x", "tmpfs", "tmpfs"), says="/etc/passwd"),
    # namespaces, hooks, limits
    Mistake("misspelt namespace", put("linux.namespaces.x", {"type": "net"}), says="type must be one of"),
    Mistake("namespace twice", put("linux.namespaces.x", {"type": "pid"}), says="duplicated ns"),
    Mistake("namespace that is missing", namespace("network", "/run/netns/blue"), says="/run/netns"),
    Mistake("namespace of another type", namespace("network", "/proc/self/ns/uts"), says="is not a namespace of type"),
    Mistake("host name without a UTS namespace",
            lambda b: put("hostname", "box")(b.without_namespace("uts")), says="without a private UTS namespace"),
    Mistake("sysctl of the host", put("linux.sysctl", {"vm.swappiness": "1"}), says="not in a separate kernel"),
    Mistake("sysctl that is none",
            lambda b: put("linux.sysctl", {"net.ipv4.ip_fwd": "1"})(b.namespace("network")), says="no such sysctl"),
    Mistake("hook that is missing", lambda b: b.hook("createRuntime", "/opt/hook"), says="/opt"),
    Mistake("hook that is not executable", lambda b: b.hook("createRuntime", "/etc/passwd"), says="permission denied"),
    Mistake("hook that fails", lambda b: b.hook("createRuntime", "/bin/false"), says="and printed nothing",
            foreseen="nobody knows before it runs"),
    Mistake("soft limit above the hard one",
            put("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}]), says="above hard limit"),
    Mistake("more open files than the kernel has",
            put("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9999999999}]), says="RLIMIT_NOFILE"),
    Mistake("misspelt resource limit",
            put("process.rlimits", [{"type": "NOFILE", "soft": 9, "hard": 9}]), says="type must be one of"),
    Mistake("memory limit on a host whose controllers are cgroup v1's",
            put("linux.resources", {"memory": {"limit": 1 << 30}}), says="cgroup v1", host=has_no("memory")),
    Mistake("memory limit as text", put("linux.resources", {"memory": {"limit": "1g"}}), says="limit must be"),
    Mistake("AppArmor profile on a host without it",
            put("process.apparmorProfile", "docker-default"), says="AppArmor is disabled", host=NO_APPARMOR),
    Mistake("SELinux label on a host without it",
            put("process.selinuxLabel", "system_u:system_r:a_t:s0"), says="selinux is", host=NO_SELINUX),
    Mistake("seccomp profile that refuses execve", seccomp("SCMP_ACT_ERRNO", "read", "write", "sendmsg", "exit_group"),
            says="refuses execve"),
    Mistake("misspelt seccomp action", seccomp("SCMP_ACT_ERNO"), says="defaultAction must be one of"),
    Mistake("network device that is missing",
            lambda b: put("linux.netDevices", {"eth7": {}})(b.namespace("network")), says="eth7"),
    Mistake("mappings without a user namespace",
            put("linux.uidMappings", [{"containerID": 0, "hostID": 1000, "size": 1}]), says="isn't enabled"),
    # Landlock
    Mistake("ruleset that is no JSON", landlock("fs: [read_file]"), says="org.pyrunc.landlock is no JSON"),
    Mistake("ruleset that handles nothing", landlock('{"rules": {}}'), says="the ruleset handles nothing"),
    Mistake("misspelt right of a ruleset",
            landlock('{"ruleset": {"handledAccessFS": ["write_files"]}}'), says='did you mean "write_file"?'),
    Mistake("right that is allowed and not handled",
            landlock('{"ruleset": {"handledAccessFS": ["write_file"]}, "rules": {"pathBeneath": '
                     '[{"allowedAccess": ["read_file"], "paths": ["/tmp"]}]}}'), says="allowed but not handled"),
    Mistake("ruleset's path that is relative",
            landlock('{"ruleset": {"handledAccessFS": ["write_file"]}, "rules": {"pathBeneath": '
                     '[{"allowedAccess": ["write_file"], "paths": ["tmp"]}]}}'), says="is not absolute"),
    Mistake("broker's annotation without an agent",
            put("annotations", {"org.pyrunc.broker": "default"}), says="org.pyrunc.broker"),
)  # fmt: skip

IN_A_SANDBOX = "run --isolation sandbox -b B ID"

# The mistake is in the bundle, and only the command's options or another program make it one.
OTHERS: tuple[Mistake, ...] = (
    Mistake("sandbox with the host's /proc", mount("/mnt", "bind", "/proc", "bind"), IN_A_SANDBOX,
            says="is refused in a sandbox"),
    Mistake("sandbox with a device",
            put("linux.devices", [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]),
            IN_A_SANDBOX, says="in a sandbox"),
    Mistake("sandbox in a network namespace of others", namespace("network", "/proc/self/ns/net"), IN_A_SANDBOX,
            says="--network config keeps it"),
    Mistake("sandbox with a profile that allows everything", seccomp("SCMP_ACT_ALLOW", "read"), IN_A_SANDBOX,
            says="write one by pyrunc seccomp record"),
    Mistake("sandbox with shared mounts", put("linux.rootfsPropagation", "shared"), IN_A_SANDBOX, says="in a sandbox"),
    Mistake("call that programs make all the time", policies(openat={}), SERVE, says="openat can't be brokered"),
    Mistake("broker's device that is not harmless", policies(mknod={"devices": ["mem"]}), SERVE,
            says="mem is no device that the broker makes"),
    Mistake("broker's network that is none", policies(connect={"networks": [{"cidr": "10.0.0.1/8"}]}), SERVE,
            says="10.0.0.1/8 is no network"),
    Mistake("misspelt member of a policy", policies(connect={"datagram": True}), SERVE, says="datagrams is known"),
    Mistake("broker without a policy", policies(), SERVE, says="the broker has no policy"),
    Mistake("broker's socket that is a file", policies(sysinfo={}),
            "broker --socket B/config.json --config B/broker.json", says="already in use"),
    Mistake("profile of a policy that there is not", policies(sysinfo={}), SERVE + " --print-profile --policy web",
            says="there is no policy web"),
    Mistake("configuration under another name", others("box.json"), says="--config box.json"),
)  # fmt: skip

COMMANDS: tuple[Mistake, ...] = (
    Mistake("unknown container", words="state nobody", says="nobody in ROOT"),
    Mistake("shortened id", words="state BO", says="did you mean BOX"),
    Mistake("id that is taken", words="run -b B BOX", says="already exists: BOX"),
    Mistake("id that is none", words="run -b B my/box", says="letters, digits"),
    Mistake("bundle that is missing", words="run -b /srv/nobundle ID", says="/srv/nobundle"),
    Mistake("directory without config.json", words="run -b W ID", says="pyrunc spec"),
    Mistake("rootfs given as the bundle", words="run -b B/rootfs ID", says="the bundle is the directory above"),
    Mistake("pid file in a directory that is missing", words="run -b B --pid-file /srv/none/pid ID",
            says="--pid-file"),
    Mistake("start of a container that runs", words="start BOX", says="already running"),
    Mistake("delete of a container that runs", words="delete BOX", says="kill it first, or use delete --force"),
    Mistake("unknown signal", words="kill BOX STOPP", says="unknown signal"),
    Mistake("number that is no signal's", words="kill BOX 99", says="1 to 64"),
    Mistake("exec of a program that is missing", words="exec BOX nginx", says="from COMMAND"),
    Mistake("exec of a command line as one word", words="exec BOX 'echo hello'", says="one argument is one word"),
    Mistake("exec in the background with a terminal", words="exec --detach --tty BOX sh", says="leave out --tty"),
    Mistake("exec with -- behind the id", words="exec BOX -- ls", says="without -- between them"),
    Mistake("exec in a directory that is missing", words="exec --cwd /srv/app BOX true", says="from --cwd"),
    Mistake("exec with a variable without a value", words="exec -e DEBUG BOX true", says="from --env"),
    Mistake("exec without a program", words="exec BOX", says="exec args cannot be empty"),
    Mistake("exec as a user by name", words="exec -u www BOX true", says="UID or UID:GID"),
    Mistake("list of a root that is missing", words="--root /srv/none list", says="/srv/none"),
    Mistake("docker's run -it", words="run -it alpine", says="process.terminal"),
    Mistake("docker's run --rm", words="run --rm alpine", says="--keep"),
    Mistake("docker's run IMAGE COMMAND", words="run alpine sh", says="root.path and process.args"),
    Mistake("docker's stop", words="stop BOX", says="did you mean kill or delete?"),
    Mistake("docker's rm", words="rm BOX", says="did you mean delete?"),
    Mistake("docker's pull", words="pull alpine", says="images are an engine's matter"),
    Mistake("docker's logs", words="logs BOX", says="keeps no logs"),
    Mistake("kill with the signal in front", words="kill -9 BOX", says="kill ID 9"),
    Mistake("misspelt flag", words="run --bundel B ID", says="did you mean --bundle?"),
    Mistake("no container's id", words="start", says="exactly 1 argument"),
    Mistake("validate's format that is none", words="validate --format yaml W", says="text and json"),
    Mistake("isolation that there is not", words="run --isolation vm -b B ID", says='unknown isolation "vm"'),
    Mistake("network without a sandbox", words="run --network host -b B ID",
            says="--network needs --isolation sandbox"),
    Mistake("sandbox without pivot_root", words="run --isolation sandbox --no-pivot -b B ID",
            says="--no-pivot is refused"),
    Mistake("config.json as the profile", words="run --seccomp-profile B/config.json -b B ID",
            says="the file is a config.json and no profile"),
    Mistake("broker without a configuration", words="broker --socket W/broker.sock", says="--config is missing"),
)  # fmt: skip

MISTAKES = BUNDLES + OTHERS + COMMANDS


def changes(before: Any, after: Any, at: str = "") -> list[str]:
    """The differences of two JSON values, each as `path: value`, or `path: missing`."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for name in [*before, *[name for name in after if name not in before]]:
            place = f"{at}.{name}" if at else name
            if name not in after:
                found.append(f"{place}: missing")
            elif name not in before:
                found.append(f"{place}: {json.dumps(after[name], ensure_ascii=False)}")
            else:
                found += changes(before[name], after[name], place)
        return found
    if isinstance(before, list) and isinstance(after, list) and after[: len(before)] == before:
        return [f"{at}, one more: {json.dumps(item, ensure_ascii=False)}" for item in after[len(before) :]]
    return [] if before == after else [f"{at}: {json.dumps(after, ensure_ascii=False)}"]
