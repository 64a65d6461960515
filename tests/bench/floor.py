"""The floor: a C program that carries out the plan of a bundle, recorded by the compiler, with pyrunc's own init and
calls and nothing else. What it takes is the kernel's part of a `run`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pyrunc._generated.steps import FIELDS
from pyrunc.libcontainer import lifecycle
from pyrunc.libcontainer.cgroup import devices
from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.kernel.constants import CLONE_FLAGS
from pyrunc.libcontainer.plan import wire
from pyrunc.libcontainer.plan.model import Step
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.seccomp import compiler
from pyrunc.libcontainer.spec import load
from tests.bench.runtimes import Run, Runtime

NAME = "floor"
_REPOSITORY = Path(__file__).resolve().parents[2]
_SOURCES = ("ahead.c", "clone.c", "image.c", "mounts.c", "sockets.c", "stack.c")
# Numbers of the descriptors of slots: above those that the program opens itself.
_FIRST_FD = 40


class Floor(Runtime):
    """The program in the place of a runtime: it has `run` and nothing else."""

    def __init__(self, work: Path, id: str) -> None:
        super().__init__(NAME, [str(build(work))], work)
        self.id = id
        self.steps: dict[str, Path] = {}

    def record(self, bundle: Path) -> None:
        """Record the plan of a bundle. Errors as for `record`."""
        self.steps[str(bundle)] = record(bundle, self.id, self.root / f"plan{len(self.steps)}")

    def __call__(self, *words: str, clients: int = 1, count: int = 1, root: Path | None = None) -> Run:
        """Carry out the plan of the bundle in `words`. Raises Failed."""
        return self.measured([*self.command, str(self.steps[words[words.index("--bundle") + 1]])], clients, count)


def build(work: Path) -> Path:
    """Compile floor.c with pyrunc's own calls. Raises subprocess.CalledProcessError."""
    native = _REPOSITORY / "csrc/native"
    program = work / "floor"
    sources = [str(Path(__file__).with_suffix(".c")), *(str(native / name) for name in _SOURCES)]
    subprocess.run(["gcc", "-O2", "-static", f"-I{native}", "-o", str(program), *sources], check=True)
    return program


def record(bundle: Path, id: str, target: Path) -> Path:
    """Write the plan of the bundle's `run` and the files that it needs to the new directory `target`. Returns the file
    with the steps. Raises PyruncError, and ValueError for a step that floor.c does not have."""
    target.mkdir()
    before = Path.cwd()
    os.chdir(bundle)
    try:
        options = LaunchOptions(id=id, bundle=str(bundle), command="run", root=str(target))
        spec = load.load(options.bundle, options.config)
        facts = lifecycle.host_facts(spec, options)
        plan = compile_launch(spec, options, facts)
    finally:
        os.chdir(before)
    slots: dict[str, int] = {}
    lines: list[str] = []
    clone = ""
    # The floor attaches the device rules where the plan does: before the clone, or while the init works.
    ordered = [*plan.prepare[:-1], *plan.beside, plan.prepare[-1]]
    for step in ordered:
        args = {name: value for (name, _), value in zip(FIELDS[step.kind], step.args, strict=True)}
        if "slot" in args:
            slots[str(args["slot"])] = _FIRST_FD + len(slots)
        number = slots.get(str(args.get("slot")), 0)
        match step.kind:
            case "cgroup_create":
                parent = Path(str(args["path"])).parent
                parent.mkdir(parents=True, exist_ok=True)
                lines.append(f"cgroup {args['path']}")
            case "cgroup_devices":
                (target / "devices").write_bytes(devices.assemble(step.args[1]))  # type: ignore[arg-type]
                lines.append(f"{'beside' if step in plan.beside else 'devices'} {target / 'devices'}")
            case "compile_seccomp":
                assert plan.profile is not None
                (target / "filter").write_bytes(compiler.compile_filter(plan.profile))
                lines.append(f"file {number} {target / 'filter'}")
            case "open_source":
                lines.append(f"tree {number} {args['path']}")
            case "open_namespace":
                lines.append(f"namespace {number} {CLONE_FLAGS[str(args['type'])]} {args['path']}")
            case "clone":
                clone = f"clone {args['flags']} {target / 'blob'}"
            case "state_dir" | "open_files":
                pass
            case _:
                raise ValueError(f"the floor has no step {step.kind}")
    for what, steps in plan.served.items():
        lines += [_answer(what, step) for step in steps if what != "ready"]
    (target / "blob").write_bytes(wire.encode(plan, slots))
    (target / "steps").write_text("\n".join([*lines, clone]) + "\n")
    return target / "steps"


def _answer(what: str, step: Step) -> str:
    if step.kind == "write_map":
        file, lines = step.args
        assert isinstance(lines, tuple)
        return f"answer {what} {file} " + "".join(line + r"\n" for line in lines)
    if step.kind == "write_setgroups":
        return f"answer {what} setgroups {step.args[0]}"
    if step.kind == "write_oom_score_adj":
        return f"answer {what} oom_score_adj {step.args[0]}"
    if step.kind == "prlimit":
        return f"limit {what} " + " ".join(str(arg) for arg in step.args)
    raise ValueError(f"the floor has no answer {step.kind}")
