"""apparmorProfile, selinuxLabel and mountLabel."""

from __future__ import annotations

import pytest

from pyrunc.libcontainer.plan.model import LaunchPlan
from tests.support.plans import Spec, compiled, find, kinds, minimal, values, with_linux, with_process

STEPS = ("require_lsm", "security_label", "file_label", "mask_label")
LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def labels(plan: LaunchPlan) -> list[tuple[object, ...]]:
    return [(step.kind, *step.args, step.pointer) for step in find(plan, *STEPS)]


def mounted(*mounts: dict[str, object], **linux: object) -> LaunchPlan:
    spec = with_linux(mountLabel=LABEL, **linux)
    spec["mounts"] = list(mounts)
    return compiled(spec)


@pytest.mark.parametrize(
    "spec", [minimal(), with_process(apparmorProfile="", selinuxLabel=""), with_linux(mountLabel="")]
)
def test_no_label_no_step(spec: Spec) -> None:
    assert kinds(compiled(spec)) == kinds(compiled(minimal()))


def test_apparmor_profile() -> None:
    at = "/process/apparmorProfile"
    assert labels(compiled(with_process(apparmorProfile="profile with space"))) == [
        ("require_lsm", "apparmor", at),
        ("security_label", "apparmor/exec", "exec profile with space", at),
    ]


def test_selinux_label() -> None:
    at = "/process/selinuxLabel"
    plan = compiled(with_process(selinuxLabel="a:b:c:d"))
    assert labels(plan) == [
        ("require_lsm", "selinux", at),
        ("security_label", "keycreate", "a:b:c:d", at),
        ("security_label", "keycreate", "", at),
        ("security_label", "exec", "a:b:c:d", at),
    ]
    order = [step.kind for step in plan.init]
    assert order[order.index("session_keyring") - 1 :][:3] == ["security_label", "session_keyring", "security_label"]


def test_the_keyring_s_label_is_of_no_use_without_a_keyring() -> None:
    plan = compiled(with_process(selinuxLabel="a:b:c:d"), no_new_keyring=True)
    assert [args[1] for args in labels(plan)] == ["selinux", "exec"]


def test_the_label_is_written_while_the_process_has_all_its_rights() -> None:
    spec = with_process(apparmorProfile="p", selinuxLabel="l", noNewPrivileges=True, capabilities={})
    order = [step.kind for step in compiled(spec).steps() if step.phase == "process"]
    assert order[3:7] == ["security_label", "security_label", "no_new_privileges", "bounding"]


def test_the_module_is_asked_for_before_anything_is_made() -> None:
    plan = mounted()
    assert [step.kind for step in plan.prepare][:3] == ["state_dir", "require_lsm", "cgroup_create"]
    assert labels(plan) == [("require_lsm", "selinux", "/linux/mountLabel")]


@pytest.mark.parametrize("type", ["tmpfs", "devpts", "overlay"])
def test_file_systems_are_made_with_the_label(type: str) -> None:
    plan = mounted({"destination": "/x", "type": type, "source": "x", "options": ["mode=755"]})
    assert values(find(plan, "mount")[0], "options") == (("mode=755", "context=" + LABEL),)


@pytest.mark.parametrize("type", ["proc", "sysfs", "cgroup", "cgroup2", "mqueue"])
def test_file_systems_that_take_no_context(type: str) -> None:
    plan = mounted({"destination": "/x", "type": type, "source": "x"})
    assert values(find(plan, "mount")[0], "options") == ((),)


def test_a_mount_s_own_context_stays() -> None:
    plan = mounted({"destination": "/x", "type": "tmpfs", "options": ['context="own:c1,c2"', "rootcontext=a"]})
    assert values(find(plan, "mount")[0], "options") == (("context=own:c1,c2", "rootcontext=a"),)


def test_bind_mounts_keep_the_label_of_their_files() -> None:
    plan = mounted({"destination": "/x", "type": "bind", "source": "/y", "options": ["bind"]})
    assert [args[0] for args in labels(plan)] == ["require_lsm"]


def test_queues_are_labelled_when_they_are_mounted() -> None:
    plan = mounted({"destination": "/dev/mqueue", "type": "mqueue"})
    assert [step.kind for step in find(plan, "mount", "file_label")] == ["mount", "file_label"]
    assert values(find(plan, "file_label")[0], "path", "label") == ("/dev/mqueue", LABEL)


def test_masks_have_the_label() -> None:
    plan = mounted(maskedPaths=["/proc/acpi"])
    assert [step.kind for step in find(plan, "mask_label", "mask_path")] == ["mask_label", "mask_path"]
    assert values(find(plan, "mask_label")[0], "label") == (LABEL,)
