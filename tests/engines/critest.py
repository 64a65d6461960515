"""Run all of critest with one runtime: `python -m tests.engines.critest RELEASE RUNTIME [KIND [ARGUMENT…]]`.
`python -m tests.engines.critest RELEASE --images DIRECTORY` makes only the registry's files, for a guest.

critest pulls its images from a registry on the machine's loopback: stand-ins made of busybox and nginx, under critest's
names. Its output is in build/engines/critest-RUNTIME.log, containerd's in critest-RUNTIME.containerd.log. This module
prints the last lines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.engines import images
from tests.engines.cri import SANDBOX
from tests.engines.engine import PAUSE
from tests.engines.images import Image
from tests.engines.kinds import KINDS
from tests.engines.machine import REPOSITORY, Machine, wait_for
from tests.engines.tree import CONFIGURATION, furnish, libraries, programs, stand_ins, tree

# The time limit in seconds.
SECONDS = 1500

E2E = "registry.k8s.io/e2e-test-images"
CRI = "gcr.io/k8s-staging-cri-tools"


# The port of critest's web server in the host's network.
HOST_PORT = 12003

# The groups of the image whose user 1000 has one more group, and no other.
GROUP = "root:x:0:\nuser:x:1000:\npredefined:x:50000:user\n"

# Tells the effective user to the test of no_new_privs, as a setuid program.
WHO = """
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	return printf("Effective uid: %d\\n", (int)geteuid()) < 0;
}
"""


def setuid_program(directory: Path) -> Path:
    """A static program, set-user-ID root, that prints its effective user."""
    program = directory / "who"
    subprocess.run(["musl-gcc", "-static", "-x", "c", "-", "-o", program], input=WHO.encode(), check=True)
    program.chmod(0o4755)
    return program


def shell(directory: Path) -> Path:
    """A shell that executes /bin/ls where it is told to `ls`: that of the package busybox. The one of busybox-static
    does it itself, so a masked /bin/ls makes no difference."""
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", "busybox"]
    subprocess.run(command, cwd=directory, check=True)
    subprocess.run(["dpkg-deb", "-x", next(directory.glob("busybox_*.deb")), directory / "shell"], check=True)
    return directory / "shell/bin/busybox"


def published(machine: Machine, directory: Path) -> list[Image]:
    """The images by critest's names. directory: where files for them are made."""
    box, pause, nginx = stand_ins(machine)
    files = dict(box.files) | programs(machine, "usr/bin/ipcs", "usr/bin/pgrep")
    del files["bin/sh@"], files["bin/ls@"]
    plain = shell(directory)
    files |= {"bin/sh": plain, "bin/ls": machine.tree / "bin/busybox"}
    files |= libraries(machine, plain)
    box = box._replace(files=files)
    configuration = CONFIGURATION.replace("listen 80;", f"listen {HOST_PORT};").encode()
    in_host = nginx._replace(files=dict(nginx.files) | {"etc/nginx/nginx.conf": configuration})
    # The test looks for its server's name in the log.
    httpd = nginx._replace(command=("sh", "-c", "echo httpd; exec /usr/sbin/nginx -g 'daemon off;'"))
    who = Image("", {"who": setuid_program(directory)}, ("/who",))
    names = {
        f"{E2E}/busybox:1.29-2": box, PAUSE: pause, f"{E2E}/nginx:1.14-2": nginx,
        f"{E2E}/httpd:2.4.39-4": httpd, f"{CRI}/hostnet-nginx-amd64:latest": in_host, f"{E2E}/nonewprivs:1.3": who,
        f"{CRI}/test-image-user-uid:latest": box._replace(user="1002"),
        f"{CRI}/test-image-user-username:latest": box._replace(user="www-data"),
        f"{CRI}/test-image-user-uid-group:latest": box._replace(user="1003:users"),
        f"{CRI}/test-image-user-username-group:latest": box._replace(user="www-data:100"),
        f"{CRI}/test-image-predefined-group:latest": box._replace(
            user="1000", files=files | {"etc/group": GROUP.encode()}
        ),
        f"{CRI}/test-image-latest:latest": box, f"{CRI}/test-image-tag:test": box, f"{CRI}/test-image-tag:all": box,
    }  # fmt: skip
    # containerd removes an image with all its names, and the sandbox's image must stay.
    names["registry.k8s.io/pause:3.9"] = pause._replace(environment=(*pause.environment, "NUMBER=0"))
    for number in "123":
        # Three images, and one image under three tags.
        names[f"{CRI}/test-image-{number}:latest"] = box._replace(environment=(*box.environment, f"NUMBER={number}"))
        names[f"{CRI}/test-image-tags:{number}"] = box
    return [image._replace(name=name) for name, image in names.items()]


def publish(machine: Machine, target: Path) -> None:
    """Put all images where the registry finds them, below a directory of the host."""
    with tempfile.TemporaryDirectory() as directory:
        for image in published(machine, Path(directory)):
            images.publish(image, target)


def serve(machine: Machine, directory: str) -> None:
    """Start the registry on a machine, for a directory of it, and wait until it answers."""
    machine.start("registry", machine.python, "-IS", "-c", images.REGISTRY, directory)
    ask = ("busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5000/v2/")
    wait_for(lambda: machine.run(*ask).code == 0, "the registry does not answer")


def words(runtime: str, *more: str) -> list[str]:
    """The command line of critest."""
    return [
        "critest", f"--runtime-handler={runtime}", "--runtime-endpoint=unix:///run/containerd/containerd.sock",
        "--ginkgo.no-color", "--ginkgo.seed=1", *more,
    ]  # fmt: skip


def summary(output: str) -> list[str]:
    """The lines of critest's output that count and that name what has failed."""
    wanted = ("Ran ", "[FAIL]", "FAIL!", "SUCCESS!", "PASS")
    return [line for line in output.splitlines() if line.strip().startswith(wanted)]


def main() -> int:
    """Do what sys.argv asks for."""
    release, runtime, *more = sys.argv[1:]
    if runtime == "--images":
        with Machine(tree(release)) as machine:
            publish(machine, Path(more[0]))
        return 0
    kind = KINDS[more[0] if more else "cri2" if runtime == SANDBOX else "cri"]  # only containerd 2 has sandboxers
    log = REPOSITORY / f"build/engines/critest-{runtime}.log"
    with Machine(tree(release)) as machine:
        furnish(machine)
        kind.prepare(machine)
        print(f"containerd {kind.adapter.up(machine)}, {runtime}", flush=True)
        publish(machine, machine.path("/srv/registry"))
        serve(machine, "/srv/registry")
        done = machine.run(*words(runtime, *more[1:]), seconds=SECONDS)
        daemon = machine.path("/run/containerd.log").read_text(errors="replace")
    log.write_text(done.out + done.err)
    log.with_name(f"critest-{runtime}.containerd.log").write_text(daemon)
    print("\n".join(summary(done.out)))
    return done.code


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
