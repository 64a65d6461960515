"""Run all of critest with one runtime: `python -m tests.engines.critest RELEASE RUNTIME [KIND [ARGUMENT…]]`.

critest pulls its images from a registry on the machine's loopback: stand-ins made of busybox and nginx, under critest's
names. Its output is in build/engines/critest-RUNTIME.log; this module prints the last lines.
"""

from __future__ import annotations

import os
import sys

from tests.engines import images
from tests.engines.engine import PAUSE
from tests.engines.images import Image
from tests.engines.kinds import KINDS
from tests.engines.machine import REPOSITORY, Machine
from tests.engines.tree import furnish, programs, stand_ins, tree

# The time limit in seconds.
SECONDS = 1500

E2E = "registry.k8s.io/e2e-test-images"
CRI = "gcr.io/k8s-staging-cri-tools"


def published(machine: Machine) -> list[Image]:
    """The images by critest's names."""
    box, pause, nginx = stand_ins(machine)
    box = box._replace(files=dict(box.files) | programs(machine, "usr/bin/ipcs"))
    names = {
        f"{E2E}/busybox:1.29-2": box, PAUSE: pause, f"{E2E}/nginx:1.14-2": nginx,
        f"{E2E}/httpd:2.4.39-4": nginx, f"{CRI}/hostnet-nginx-amd64:latest": nginx,
        f"{CRI}/test-image-user-uid:latest": box._replace(user="1002"),
        f"{CRI}/test-image-user-username:latest": box._replace(user="www-data"),
        f"{CRI}/test-image-user-uid-group:latest": box._replace(user="1003:users"),
        f"{CRI}/test-image-user-username-group:latest": box._replace(user="www-data:100"),
        f"{CRI}/test-image-predefined-group:latest": box._replace(user="1000"),
        f"{CRI}/test-image-latest:latest": box, f"{CRI}/test-image-tag:test": box, f"{CRI}/test-image-tag:all": box,
    }  # fmt: skip
    # containerd removes an image with all its names, and the sandbox's image must stay.
    names["registry.k8s.io/pause:3.9"] = pause._replace(environment=(*pause.environment, "NUMBER=0"))
    for number in "123":
        # Three images, and one image under three tags.
        names[f"{CRI}/test-image-{number}:latest"] = box._replace(environment=(*box.environment, f"NUMBER={number}"))
        names[f"{CRI}/test-image-tags:{number}"] = box
    return [image._replace(name=name) for name, image in names.items()]


def main() -> int:
    """Run the critest that sys.argv asks for."""
    release, runtime, *more = sys.argv[1:]
    kind = KINDS[more[0] if more else "cri"]
    log = REPOSITORY / f"build/engines/critest-{runtime}.log"
    with Machine(tree(release)) as machine:
        furnish(machine)
        kind.prepare(machine)
        print(f"containerd {kind.adapter.up(machine)}, {runtime}", flush=True)
        for image in published(machine):
            images.publish(image, machine.path("/srv/registry"))
        machine.start("registry", machine.python, "-IS", "-c", images.REGISTRY, "/srv/registry")
        done = machine.run(
            "critest", f"--runtime-handler={runtime}", "--runtime-endpoint=unix:///run/containerd/containerd.sock",
            "--ginkgo.no-color", "--ginkgo.seed=1", *more[1:], seconds=SECONDS,
        )  # fmt: skip
    log.write_text(done.out + done.err)
    lines = done.out.splitlines()
    wanted = ("Ran ", "[FAIL]", "FAIL!", "SUCCESS!", "PASS", "  [FAIL]")
    print("\n".join(line for line in lines if line.strip().startswith(wanted)))
    return done.code


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
