"""crun's annotations: the effect of each, and docs/annotations.md."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.diagnosis import bundle_check
from pyrunc.libcontainer.plan.host import BROKER, HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from pyrunc.libcontainer.spec import annotations as known
from pyrunc.libcontainer.spec import load
from tests.support.plans import compiled, find, minimal, values, with_linux, with_process

DOCUMENT = Path(__file__).resolve().parents[4] / "docs/annotations.md"
FILTER = base64.b64encode(b"\x06\0\0\0\0\0\xff\x7f").decode()  # SECCOMP_RET_ALLOW
PROFILE = {"defaultAction": "SCMP_ACT_ALLOW"}
NOTIFIES = {"names": ["sysinfo"], "action": "SCMP_ACT_NOTIFY"}
CONTAINER_TYPE = "io.kubernetes.cri.container-type"


def found(**values: str) -> list[tuple[str, str, str]]:
    """The results of `check` for annotations, by their names without the prefix."""
    said: list[tuple[str, str, str]] = []
    names = {known.PREFIX + name.replace("__", "-").replace("_0_", "."): value for name, value in values.items()}
    known.check(
        names,
        lambda at, what, _: said.append(("error", at, what)),
        lambda at, what: said.append(("warning", at, what)),
        False,
    )
    return said


def test_s6_the_table_is_the_code_s() -> None:
    """S6: docs/annotations.md lists each annotation with its effect, and nothing else."""
    rows = dict(re.findall(r"^\| `([^`]+)` \| (carried out|refused|no effect) \|", DOCUMENT.read_text(), re.MULTILINE))
    of_crun = {name: what for name, what in rows.items() if not name.startswith("org.")}
    assert of_crun == {
        **dict.fromkeys(known.DONE, "carried out"),
        **dict.fromkeys(known.REFUSED, "refused"),
        **dict.fromkeys(known.IGNORED, "no effect"),
    }


@pytest.mark.parametrize("name", known.REFUSED)
def test_s6_what_can_t_be_done_is_refused_and_an_empty_value_is_none(tmp_path: Path, name: str) -> None:
    config = minimal(annotations={name: "x"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(PyruncError, match=re.escape(name)) as caught:
        load.load(str(tmp_path))
    assert caught.value.pointer == "/annotations/" + name.replace("/", "~1")
    assert caught.value.hint
    config["annotations"][name] = ""
    (tmp_path / "config.json").write_text(json.dumps(config))
    load.load(str(tmp_path))


def test_s6_what_nobody_knows_is_warned_of() -> None:
    assert found(keep_original_group="1") == [
        (
            "warning",
            "/annotations/run.oci.keep_original_group",
            "the annotation run.oci.keep_original_group is unknown and ignored",
        )
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mount_context_type", "Context"),
        ("mount_context_type", ""),
        ("hooks_0_stdout", "log"),
        ("hooks_0_stderr", ""),
        ("seccomp_0_receiver", "agent.sock"),
        ("pidfd_receiver", "@abstract"),
        ("seccomp_bpf_data", ""),
        ("seccomp_bpf_data", "AAAA"),
        ("seccomp_bpf_data", "no base64"),
        ("seccomp_bpf_data", FILTER[:-1]),
    ],
)
def test_s6_values_that_can_t_be(name: str, value: str) -> None:
    assert [kind for kind, _, _ in found(**{name: value})] == ["error"]


def test_s6_values_that_can_be() -> None:
    assert (
        found(
            mount_context_type="rootcontext",
            hooks_0_stdout="/log",
            seccomp_0_receiver="/agent",
            pidfd_receiver="/p",
            seccomp_bpf_data=FILTER,
            keep_original_groups="1",
            seccomp_fail_unknown_syscall="1",
        )
        == []
    )


@pytest.mark.parametrize("size", [*range(1, 10), 4096])
def test_base64(size: int) -> None:
    data = os.urandom(size)
    assert known.decode(base64.encodebytes(data).decode()) == data


def annotated(config: Any, **more: str) -> LaunchPlan:
    config["annotations"] = {known.PREFIX + name: value for name, value in more.items()}
    load.complete(config)
    return compiled(config)


@pytest.mark.parametrize(("value", "set_groups"), [("1", 0), ("", 1), ("0", 1), ("yes", 0)])
def test_s6_keep_original_groups(value: str, set_groups: int) -> None:
    """S6: Podman's keep-groups; pyrunc ignored it silently."""
    plan = annotated(with_process(user={"uid": 7, "gid": 7, "additionalGids": [8]}), keep_original_groups=value)
    assert values(find(plan, "user")[0], "set_groups", "groups") == (set_groups, ("8",) if set_groups else ())
    assert any("additionalGids are not set" in warning for warning in plan.warnings) == (not set_groups)


def test_s6_a_receiver_is_the_listener_s_path_where_there_is_none() -> None:
    profile = {**PROFILE, "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}
    plan = annotated(with_linux(seccomp=dict(profile)), **{"seccomp.receiver": "/agent"})
    assert [step.args[0] for step in plan.served["seccomp"]] == ["/agent"]
    plan = annotated(with_linux(seccomp={**profile, "listenerPath": "/own"}), **{"seccomp.receiver": "/agent"})
    assert [step.args[0] for step in plan.served["seccomp"]] == ["/own"]


@pytest.mark.parametrize("profile", [None, PROFILE])
def test_s6_a_filter_of_its_own_takes_the_profile_s_place(profile: dict[str, Any] | None) -> None:
    plan = annotated(with_linux(**({"seccomp": dict(profile)} if profile else {})), seccomp_bpf_data=FILTER)
    assert [step.args for step in find(plan, "raw_seccomp")] == [("seccomp", FILTER)]
    assert not find(plan, "compile_seccomp")
    assert find(plan, "map_seccomp", "seccomp")


def test_s6_a_pidfd_receiver() -> None:
    assert [step.args for step in find(annotated(minimal(), pidfd_receiver="/p"), "send_pidfd")] == [("/p",)]


def test_s6_files_of_hooks() -> None:
    config = minimal(hooks={"createContainer": [{"path": "/a"}, {"path": "/b"}], "startContainer": [{"path": "/c"}]})
    plan = annotated(config, **{"hooks.stdout": "/log"})
    assert [step.args for step in find(plan, "open_hook_output")] == [("hooks:stdout", "/log")]
    assert [values(step, "output", "errors") for step in find(plan, "container_hook")] == [("hooks:stdout", None)] * 3


def test_s6_the_type_of_a_mount_s_context() -> None:
    config = with_linux(mountLabel="a:b:c:s0")
    config["mounts"] = [{"destination": "/m", "type": "tmpfs"}]
    plan = annotated(config, mount_context_type="fscontext")
    assert values(find(plan, "mount")[0], "options") == (("fscontext=a:b:c:s0",),)


def test_validate_compiles_a_user_namespace_without_mappings(tmp_path: Path) -> None:
    config = with_linux("user", uidMappings=[], gidMappings=[])
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(config))
    problems = bundle_check.validate_bundle(str(tmp_path))
    assert {problem.severity for problem in problems if "Mappings" in problem.pointer} == {"warning"}
    assert HostFacts().euid == 0


def broker(tmp_path: Path, annotations: dict[str, str] | None = None, **linux: Any) -> None:
    """Load a configuration that asks for a broker."""
    config = minimal(annotations={BROKER: "web", **(annotations or {})})
    config["linux"] = {**config.get("linux", {}), **linux}
    (tmp_path / "config.json").write_text(json.dumps(config))
    load.load(str(tmp_path))


def test_a_broker_that_nobody_has_started_is_refused(tmp_path: Path) -> None:
    """Only the shim starts one, and writes its listenerPath into the configuration."""
    given: list[dict[str, Any]] = [{}, {"seccomp": PROFILE}, {"annotations": {CONTAINER_TYPE: "container"}}]
    for others in given:
        with pytest.raises(
            PyruncError, match=f"the annotation {BROKER} has no effect without containerd-shim"
        ) as caught:
            broker(tmp_path, **others)
        assert caught.value.pointer == f"/annotations/{BROKER}"
        assert "pyrunc broker --print-profile" in caught.value.hint


def test_a_broker_that_is_asked_is_accepted(tmp_path: Path) -> None:
    broker(tmp_path, seccomp={**PROFILE, "listenerPath": "/run/b", "syscalls": [NOTIFIES]})
    broker(tmp_path, annotations={CONTAINER_TYPE: "sandbox"})  # a pause image makes no such calls
