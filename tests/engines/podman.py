"""What Podman has beyond the options of Docker: pods, `play kube`, quadlets, and options about groups, cgroups, mounts
and hooks. The checks run as root and as a user.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.engines.buildah import LIMITS
from tests.engines.checks import NEEDS, fails, namespace, succeeds
from tests.engines.docker import Podman
from tests.engines.engine import BUSYBOX, Box, Wish
from tests.engines.machine import Done, wait_for
from tests.engines.rootless import ID, SHARED, Delegated, Rootless

Check = Callable[[Podman], None]

CHECKS: dict[str, Check] = {}

# Checks of what runc lacks: crun is beside pyrunc there.
PEERS: dict[str, str] = {}

# The options in whose place others stand: a pod has the network, and a mode of cgroups says where the cgroup is.
REPLACED = {"--pod": ("--network", "--cgroup-parent"), "--cgroups": ("--cgroup-parent",)}

GENERATOR = "/usr/libexec/podman/quadlet"


def check(function: Check) -> Check:
    """Put a check into the table, under its name."""
    CHECKS[function.__name__] = function
    return function


def beside(peer: str) -> Callable[[Check], Check]:
    """Name the runtime beside pyrunc, if it is not runc."""

    def note(function: Check) -> Check:
        PEERS[function.__name__] = peer
        return function

    return note


def run_words(podman: Podman, name: str, options: tuple[str, ...], command: tuple[str, ...], detach: bool) -> list[str]:
    """The command line that runs a container with options that a Wish does not have."""
    given = {option.partition("=")[0] for option in options}
    away = {word for option, words in REPLACED.items() if option in given for word in words}
    words = podman.run_words(name, command, Wish(remove=not detach), detach)
    words = [word for word in words if word.partition("=")[0] not in away]
    place = words.index("run") + 1
    return [*words[:place], *options, *words[place:]]


def once(podman: Podman, *options: str, command: tuple[str, ...], input: str = "") -> Done:
    """Run a container to its end with these options."""
    return podman.call(*run_words(podman, podman.new_name(), options, command, detach=False), input=input)


def box(podman: Podman, *options: str, command: tuple[str, ...] = ("sleep", "1000")) -> Box:
    """Start a container with these options in the background."""
    made = Box(podman, podman.new_name())
    podman.boxes.append(made)
    succeeds(podman.call(*run_words(podman, made.name, options, command, detach=True)))
    return made


def does(podman: Podman, *words: str, input: str = "") -> str:
    """The output of a command of Podman, which must succeed."""
    return succeeds(podman.call(*podman.program, *words, input=input))


def delegated(podman: Podman) -> bool:
    """Whether Podman's user may make cgroups."""
    return isinstance(podman, Delegated) or not isinstance(podman, Rootless)


# ---- groups and users ----


@check
@beside("crun")
def keep_groups(podman: Podman) -> None:
    """--group-add keep-groups: a group of the user's that the user namespace has no id for opens a file."""
    if not isinstance(podman, Rootless):
        podman.lacks("group of the user's: root needs none")
    machine = podman.machine
    machine.write("/srv/shared/file", "for the group\n", 0o640)
    succeeds(machine.run("chown", "-R", f"0:{SHARED}", "/srv/shared"))
    volume = "--volume=/srv/shared:/shared:ro"
    assert (
        succeeds(once(podman, volume, "--group-add=keep-groups", command=("cat", "/shared/file"))) == "for the group\n"
    )
    fails(once(podman, volume, command=("cat", "/shared/file")), "Permission denied")


@check
def keep_id(podman: Podman) -> None:
    """--userns=keep-id: the user has the same id in the container."""
    if not isinstance(podman, Rootless):
        podman.lacks("keep-id for root")
    out = succeeds(once(podman, "--userns=keep-id", command=("sh", "-c", "id -u; cat /proc/self/uid_map")))
    assert out.splitlines()[0] == "1000", out
    assert len(out.splitlines()) == 4, "three lines of the map"


@check
def single_id(podman: Podman) -> None:
    """A user namespace with the user's id alone."""
    if not isinstance(podman, Rootless):
        podman.lacks("need of one")
    options = ("--uidmap=0:0:1", "--gidmap=0:0:1")
    out = succeeds(once(podman, *options, command=("sh", "-c", "id -u; cat /proc/self/uid_map")))
    assert out.split()[0] == "0"
    assert out.split()[-1] == "1"


# ---- cgroups ----


@check
@beside("crun")
def cgroups_disabled(podman: Podman) -> None:
    """--cgroups=disabled: the container stays in its caller's cgroup."""
    made = box(podman, "--cgroups=disabled")
    assert podman.machine.cgroup(podman.pid(made)) == podman.machine.cgroup(conmon(podman, made))
    made.do("stop")
    made.becomes("exited")


def conmon(podman: Podman, made: Box) -> int:
    """The pid of the conmon of a container."""
    return int(podman.machine.path(f"/proc/{podman.pid(made)}/stat").read_text().rpartition(")")[2].split()[1])


@check
def cgroups_split(podman: Podman) -> None:
    """--cgroups=split: conmon and the container get cgroups below the one that Podman is in, as a unit's."""
    if not delegated(podman):
        podman.lacks("cgroup that the user owns")
    made = box(podman, "--cgroups=split")
    own, keeper = podman.machine.cgroup(podman.pid(made)), podman.machine.cgroup(conmon(podman, made))
    assert own != keeper
    assert own.parent == keeper.parent
    assert succeeds(made.exec("grep", "0::", "/proc/self/cgroup")) == "0::/\n"


@check
def cgroup_parent(podman: Podman) -> None:
    """The container's cgroup is below the one that was asked for, and is gone after its removal."""
    if not delegated(podman):
        podman.lacks("cgroup that the user owns")
    made = podman.idle()
    group = podman.machine.cgroup(podman.pid(made))
    if isinstance(podman, Delegated):
        assert "user@1000.service" in str(group)
    made.do("remove")
    wait_for(lambda: not group.exists(), f"{group} is still there")


@check
def systemd_always(podman: Podman) -> None:
    """--systemd=always: file systems that systemd expects, a writable cgroup, and its signal to stop."""
    script = (
        "trap 'echo stopping; exit 42' 37; echo container=$container; "
        'for d in /run /run/lock /tmp; do grep -q " $d tmpfs" /proc/mounts && echo tmpfs $d; done; '
        "grep ' /sys/fs/cgroup cgroup2 rw' /proc/mounts > /dev/null && echo writable; "
        "mkdir /sys/fs/cgroup/init.scope && echo made; echo ready; while :; do sleep 0.1; done"
    )
    made = box(podman, "--systemd=always", command=("sh", "-c", script))
    made.says("ready")
    out = made.logs().out
    # Without a cgroup of its own the container must not write to the host's (CVE-2023-25809): pyrunc mounts them
    # read-only, runc relies on their owner.
    own = ("writable", "made\n") if delegated(podman) else ()
    for text in ("container=podman", "tmpfs /run\n", "tmpfs /run/lock", "tmpfs /tmp", *own):
        assert text in out, made.logs().said
    made.do("stop")
    made.becomes("exited")
    assert podman.exit_code(made) == 42, made.logs().said


# ---- mounts ----


@check
@beside("crun")
def idmapped_volume(podman: Podman) -> None:
    """-v …:idmap: what root of the host owns belongs to root of the container."""
    if isinstance(podman, Rootless):
        podman.lacks("right to map the ids of a volume")
    podman.machine.write("/var/lib/containers/owned/file", "")
    words = ("stat", "-c", "%u:%g", "/owned/file")
    for option, owner in (("", "65534:65534"), (":idmap", "0:0")):
        volume = f"--volume=/var/lib/containers/owned:/owned{option}"
        assert succeeds(once(podman, *podman.mapping, volume, command=words)).strip() == owner, option


@check
@beside("crun")
def idmapped_volume_of_a_range(podman: Podman) -> None:
    """-v …:idmap=uids=…: ids of the host are shown as others, and files are made with those of the host."""
    if isinstance(podman, Rootless):
        podman.lacks("right to map the ids of a volume")
    podman.machine.write("/var/lib/containers/ranged/file", "")
    volume = "--volume=/var/lib/containers/ranged:/owned:idmap=uids=@0-5-10;gids=@0-7-10"
    script = "stat -c %u:%g /owned/file && touch /owned/new && stat -c %u:%g /owned/new"
    out = succeeds(once(podman, *podman.mapping, volume, "--user=5:7", command=("sh", "-c", script)))
    assert out == "5:7\n5:7\n"
    made = podman.machine.path("/var/lib/containers/ranged/new").stat()
    assert (made.st_uid, made.st_gid) == (0, 0)


@check
def volume_that_follows_the_user(podman: Podman) -> None:
    """-v …:U: the volume's owner becomes the container's user."""
    succeeds(podman.call(*podman.prefix, "mkdir", "-p", "/srv/volume/own"))
    volume = "--volume=/srv/volume/own:/own:U"
    script = "stat -c %u:%g /own; touch /own/file"
    assert succeeds(once(podman, volume, "--user=1000:1000", command=("sh", "-c", script))) == "1000:1000\n"


@check
def other_mounts(podman: Podman) -> None:
    """--mount of an image, of a devpts and of a tmpfs that gets what the image has there."""
    options = (f"--mount=type=image,src={BUSYBOX},target=/image", "--mount=type=devpts,target=/pts",
               "--mount=type=tmpfs,target=/bin2,tmpfs-size=1m", "--tmpfs=/etc:rw,size=1m")  # fmt: skip
    script = "test -e /image/bin/sh && test -c /pts/ptmx && grep -q root: /etc/passwd && grep ' /bin2 ' /proc/mounts"
    assert "size=1024k" in succeeds(once(podman, *options, command=("sh", "-c", script)))


@check
def root_directory(podman: Podman) -> None:
    """--rootfs: a directory in the place of an image."""
    directory = "/srv/volume/root"
    copy = f"mkdir -p {directory}/bin && cp /bin/busybox {directory}/bin/sh"
    succeeds(podman.call(*podman.prefix, "sh", "-c", copy))
    words = podman.run_words(
        podman.new_name(), ("/bin/sh", "-c", "echo in it"), Wish(image=directory, remove=True), False
    )
    assert (
        succeeds(podman.call(*words[: words.index(directory)], "--rootfs", *words[words.index(directory) :]))
        == "in it\n"
    )


@check
def masked_paths(podman: Podman) -> None:
    """--security-opt mask= and unmask=."""
    script = "cat /proc/cpuinfo | wc -c; grep -c ' /proc/[a-z]' /proc/mounts"
    size, count = once(podman, "--security-opt=mask=/proc/cpuinfo", command=("sh", "-c", script)).out.split()
    assert size == "0"
    assert int(count) > 5
    size, count = once(podman, "--security-opt=unmask=ALL", command=("sh", "-c", script)).out.split()
    assert size != "0"
    assert count == "0"


@check
def proc_options(podman: Podman) -> None:
    """--security-opt proc-opts=: options of /proc."""
    option = "--security-opt=proc-opts=hidepid=invisible"
    assert "hidepid=invisible" in succeeds(once(podman, option, command=("grep", " /proc ", "/proc/mounts")))


# ---- the process ----


@check
def preserved_descriptors(podman: Podman) -> None:
    """--preserve-fds: the caller's open files, for run and exec."""
    podman.machine.write("/srv/passed", "by descriptor 3\n")
    run = run_words(podman, podman.new_name(), ("--preserve-fds=1",), ("cat", "/proc/self/fd/3"), detach=False)
    done = podman.machine.run("sh", "-c", f"exec 3< /srv/passed; exec {shlex.join(run)}")
    assert succeeds(done) == "by descriptor 3\n"
    made = podman.idle()
    words = [*podman.program, "exec", "--preserve-fds=1", made.name, "cat", "/proc/self/fd/3"]
    assert (
        succeeds(podman.machine.run("sh", "-c", f"exec 3< /srv/passed; exec {shlex.join(words)}"))
        == "by descriptor 3\n"
    )


@check
def umask(podman: Podman) -> None:
    """--umask."""
    assert succeeds(once(podman, "--umask=0077", command=("sh", "-c", "umask"))) == "0077\n"


@check
def personality(podman: Podman) -> None:
    """--personality: a program that takes itself to be on a 32-bit machine."""
    assert succeeds(once(podman, "--personality=LINUX32", command=("uname", "-m"))) == "i686\n"


@check
def created_then_started(podman: Podman) -> None:
    """create, init and start --attach: the process exists before its program runs."""
    made = Box(podman, podman.new_name())
    podman.boxes.append(made)
    does(podman, "create", "--network=none", f"--name={made.name}", BUSYBOX, "sh", "-c", "echo hello; exit 3")
    does(podman, "init", made.name)
    assert made.state() == "initialized"
    done = podman.call(*podman.program, "start", "--attach", made.name)
    assert (done.code, done.out) == (3, "hello\n"), done.said


@check
def time_limit(podman: Podman) -> None:
    """--timeout: conmon ends the container."""
    made = box(podman, "--timeout=1")
    made.becomes("exited")


@check
def hooks(podman: Podman) -> None:
    """--hooks-dir: hooks that an administrator adds to all containers; each gets the state on its stdin."""
    stages = ["createRuntime", "createContainer", "poststart", "poststop"]
    log = "/srv/volume/hooks"
    podman.machine.path("/srv/volume").mkdir(exist_ok=True)
    podman.machine.write("/srv/hook", f'#!/bin/sh\nread -r state\necho "$1 $state" >> {log}\n', 0o755)
    podman.machine.path(log).unlink(missing_ok=True)
    for stage in stages:
        hook = {"version": "1.0.0", "hook": {"path": "/srv/hook", "args": ["hook", stage]}, "when": {"always": True},
                "stages": [stage]}  # fmt: skip
        podman.machine.write(f"/srv/hooks/{stage}.json", json.dumps(hook))
    name = podman.new_name()
    words = run_words(podman, name, (), ("true",), detach=False)
    # createContainer runs in the container's mount namespace, before pivot_root: the host's files are there.
    place = words.index("run")
    done = podman.call(*words[:place], "--hooks-dir=/srv/hooks", *words[place:])
    assert done.code == 0, done.said
    wait_for(lambda: "poststop" in podman.machine.path(log).read_text(), "poststop has not run")
    found = [line.partition(" ") for line in podman.machine.path(log).read_text().splitlines()]
    assert [stage for stage, _, _ in found] == stages
    assert [json.loads(state)["status"] for _, _, state in found] == ["creating", "creating", "running", "stopped"]


@check
def notification(podman: Podman) -> None:
    """--sdnotify=container: what the container sends to its $NOTIFY_SOCKET reaches the manager of units."""
    script = "echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && echo there; sleep 1000"
    listener = listening(
        podman, run_words(podman, "notifier", ("--sdnotify=container",), ("sh", "-c", script), True), 1
    )
    made = Box(podman, "notifier")
    podman.boxes.append(made)
    assert listener.code == 0, listener.said
    made.says("there")


# ---- images ----


@check
def build(podman: Podman) -> None:
    """build: RUN by the runtime, as root and as another user, with a volume."""
    text = f"""FROM {BUSYBOX}
RUN echo built > /built && id -u > /who
USER 1000:1000
WORKDIR /home
RUN id -u > /tmp/who && cat /given/file > /tmp/given
ENTRYPOINT ["cat", "/built", "/who", "/tmp/who", "/tmp/given"]
"""
    podman.machine.write("/srv/build/Containerfile", text)
    podman.machine.write("/srv/given/file", "given\n")
    name = f"localhost/built-{podman.runtime}"
    options = (
        *LIMITS,
        "--isolation=oci",
        "--network=none",
        "--volume=/srv/given:/given:ro",
        "--no-cache",
        f"--tag={name}",
    )
    does(podman, "build", *options, "/srv/build")
    words = podman.run_words(podman.new_name(), (), Wish(image=name, remove=True), detach=False)
    assert succeeds(podman.call(*words)) == "built\n0\n1000\ngiven\n"
    podman.machine.write("/srv/build/Containerfile", f"FROM {BUSYBOX}\nRUN exit 7\n")
    fails(podman.call(*podman.program, "build", *options[:4], "--no-cache", "/srv/build"), "exit status 7")


# ---- pods ----


@contextmanager
def pod(podman: Podman, *options: str) -> Iterator[str]:
    """A pod, removed with its containers at the end."""
    name = podman.new_name().replace("box", "pod")
    does(podman, "pod", "create", f"--name={name}", "--network=none", *pod_parent(podman), *options)
    try:
        yield name
    finally:
        does(podman, "pod", "rm", "--force", "--time=0", name)


def pod_parent(podman: Podman) -> list[str]:
    """The options for a pod's cgroup. Podman 4.3 with cgroupfs gives it a program that refuses all devices: its
    containers get cgroups outside of it there.
    """
    words = [word for word in podman.run_words("", (), Wish(), detach=False) if word.startswith("--cgroup-parent=")]
    return words or (["--share-parent=false"] if version(podman) < 5 else [])


def version(podman: Podman) -> int:
    """Podman's version, without what is behind the first dot."""
    return int(does(podman, "version", "--format", "{{.Client.Version}}").partition(".")[0])


@check
def pods(podman: Podman) -> None:
    """A pod: shared net, ipc and uts, own mount and pid namespaces; stop, start and removal of all at once."""
    with pod(podman, "--hostname=shared") as name:
        boxes = [box(podman, f"--pod={name}", command=("sh", "-c", "hostname; sleep 1000")) for _ in range(2)]
        for kind in ("net", "ipc", "uts"):
            assert namespace(boxes[0], kind) == namespace(boxes[1], kind), kind
        for kind in ("mnt", "pid"):
            assert namespace(boxes[0], kind) != namespace(boxes[1], kind), kind
        boxes[0].says("shared")
        does(podman, "pod", "stop", "--time=0", name)
        assert {made.state() for made in boxes} == {"exited"}
        does(podman, "pod", "start", name)
        assert {made.state() for made in boxes} == {"running"}
        pids = [podman.pid(made) for made in boxes]
        podman.boxes.clear()
    wait_for(lambda: not any(podman.machine.path(f"/proc/{pid}").exists() for pid in pids), "a process is left")


@check
def pod_with_shared_pids(podman: Podman) -> None:
    """A pod with one pid namespace: a container sees the other's processes, and ends alone."""
    with pod(podman, "--share=pid,net") as name:
        first, second = (box(podman, f"--pod={name}", command=("sleep", n)) for n in ("4321", "1234"))
        assert "sleep 4321" in succeeds(second.exec("ps"))
        second.do("stop")
        second.becomes("exited")
        assert first.state() == "running"
        podman.boxes.clear()


@check
def paused_pod(podman: Podman) -> None:
    """pod pause and unpause."""
    if not delegated(podman):
        podman.lacks("cgroup that the user owns")
    with pod(podman) as name:
        made = box(podman, f"--pod={name}")
        does(podman, "pod", "pause", name)
        assert made.state() == "paused"
        does(podman, "pod", "unpause", name)
        assert made.state() == "running"
        podman.boxes.clear()


MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{GREETING: good day}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  hostNetwork: true
  restartPolicy: Never
  volumes:
  - {{name: shared, emptyDir: {{}}}}
  - {{name: host, hostPath: {{path: /srv/kube, type: Directory}}}}
  initContainers:
  - name: before
    image: {image}
    command: [sh, -c, "echo prepared > /shared/file"]
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  containers:
  - name: first
    image: {image}
    command: [sh, -c, "id -u; echo $GREETING; cat /shared/file /host/file; touch /no; sleep 1000"]
    env:
    - name: GREETING
      valueFrom: {{configMapKeyRef: {{name: settings, key: GREETING}}}}
    volumeMounts:
    - {{name: shared, mountPath: /shared}}
    - {{name: host, mountPath: /host, readOnly: true}}
    livenessProbe: {{exec: {{command: [test, -e, /shared/file]}}, periodSeconds: 1}}
    securityContext:
      runAsUser: 1000
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {{drop: [ALL]}}
  - name: second
    image: {image}
    command: [sh, -c, "grep NoNewPrivs /proc/self/status; sleep 1000"]
"""


@check
def play_kube(podman: Podman) -> None:
    """kube play: a manifest with a ConfigMap, volumes, an init container, a probe and a security context; then down."""
    name = podman.new_name().replace("box", "kube")
    podman.machine.write("/srv/kube/file", "from the host\n")
    podman.machine.write("/srv/manifest.yaml", MANIFEST.format(name=name, image=BUSYBOX))
    does(podman, "play", "kube", "/srv/manifest.yaml")
    try:
        first, second = (Box(podman, f"{name}-{word}") for word in ("first", "second"))
        first.says("1000\ngood day\nprepared\nfrom the host\n")
        first.says("Read-only file system")
        second.says("NoNewPrivs")
        assert succeeds(first.exec("grep", "CapBnd", "/proc/self/status")).split()[1] == "0000000000000000"
        assert succeeds(first.exec("grep", "NoNewPrivs", "/proc/self/status")).split()[1] == "1"
        succeeds(podman.call(*podman.program, "healthcheck", "run", first.name))
        assert namespace(first, "ipc") == namespace(second, "ipc")
    finally:
        does(podman, "play", "kube", "--down", "/srv/manifest.yaml")
    assert first.state() == ""


# ---- units of systemd ----

# Runs a command with a $NOTIFY_SOCKET, and prints what is sent there until it has READY=1 or there is nothing more.
LISTENER = """
import os, select, socket, subprocess, sys
path = "/srv/volume/notify"
if os.path.exists(path):
    os.unlink(path)
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(path)
os.chmod(path, 0o777)
code = subprocess.run(sys.argv[2:], env={**os.environ, "NOTIFY_SOCKET": path}, stdin=subprocess.DEVNULL).returncode
while select.select([manager], [], [], float(sys.argv[1]))[0]:
    said = manager.recv(4096).decode()
    print(said, flush=True)
    if "READY=1" in said:
        break
sys.exit(code)
"""


def listening(podman: Podman, words: list[str], seconds: float = 20) -> Done:
    """Run a command as a manager of units does for Type=notify."""
    podman.machine.path("/srv/volume").mkdir(exist_ok=True)
    return podman.call(podman.machine.python, "-c", LISTENER, str(seconds), *words)


QUADLET = """
[Container]
Image={image}
Exec=sh -c "echo started; trap 'exit 0' TERM; while :; do sleep 0.1; done"
ContainerName={name}
GlobalArgs=--runtime={runtime}
Network=none
Environment=A=1
ReadOnly=true
Tmpfs=/scratch
User=1000
DropCapability=all
NoNewPrivileges=true
"""


@check
def quadlet(podman: Podman) -> None:
    """A .container file: the unit of the generator, started and stopped by hand as systemd does."""
    if not os.path.lexists(podman.machine.path(GENERATOR)):
        podman.lacks("quadlets before Podman 4.4")
    if not delegated(podman):
        podman.lacks("cgroup that the user owns")
    name = podman.new_name().replace("box", "unit")
    directory = f"/srv/quadlets-{name}"
    podman.machine.write(
        f"{directory}/{name}.container", QUADLET.format(image=BUSYBOX, name=name, runtime=podman.runtime)
    )
    user = ("-user",) if isinstance(podman, Rootless) else ()
    unit = succeeds(podman.call(*podman.prefix, "env", f"QUADLET_UNIT_DIRS={directory}", GENERATOR, "-dryrun", *user))
    run = f"/run/user/{ID}" if isinstance(podman, Rootless) else "/run"
    lines = re.findall(r"^(Exec\w+)=-?(.*)", unit, re.MULTILINE)
    commands = {key: command_of(line, name, run) for key, line in lines}
    assert "Type=notify" in unit, unit
    done = listening(podman, [*podman.prefix, "env", f"PODMAN_SYSTEMD_UNIT={name}.service", *commands["ExecStart"]])
    made = Box(podman, name)
    podman.boxes.append(made)
    assert done.code == 0, done.said
    assert "READY=1" in done.out, done.said
    made.says("started")
    assert f"MAINPID={conmon(podman, made)}" in done.out
    assert succeeds(made.exec("sh", "-c", "echo $A; id -u; touch /scratch/x; touch /x 2>&1; true")).startswith(
        "1\n1000\n"
    )
    group = podman.machine.cgroup(podman.pid(made))
    assert "libpod-payload" in group.name, "the unit runs with --cgroups=split"
    for key in ("ExecStop", "ExecStopPost"):
        succeeds(podman.call(*podman.prefix, *commands[key]))
    assert made.state() == ""
    podman.boxes.clear()


def command_of(line: str, name: str, run: str) -> list[str]:
    """The words of an Exec line of a unit, with its specifiers replaced (systemd.unit(5)). run: the one for %t."""
    for specifier, value in (("%N", name), ("%n", f"{name}.service"), ("%t", run), ("%%", "%")):
        line = line.replace(specifier, value)
    return shlex.split(line)


NEEDS["play_kube"] = "a cgroup for the pod that allows devices: Podman 4.3 with cgroupfs makes one that refuses all"
