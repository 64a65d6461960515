"""What is said to a Linux security module: process.apparmorProfile, process.selinuxLabel, linux.mountLabel.

Imported where a configuration has one of these fields. The process's own label is written as "the one to take on at
the next exec" late, before the process gives its rights away.
"""

from __future__ import annotations

from ..._generated import steps
from ..kernel.lsm import APPARMOR, SELINUX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context

_APPARMOR_POINTER = "/process/apparmorProfile"
_SELINUX_POINTER = "/process/selinuxLabel"
_MOUNT_POINTER = "/linux/mountLabel"

# File systems that the kernel labels itself, so that a context at the mount is refused; mqueue's root is labelled
# when it is mounted. As runc.
_NO_CONTEXT = ("proc", "sysfs", "cgroup2", "mqueue")


def require_modules(context: Context) -> None:
    """Make sure of the modules before anything is made that would be in vain without them."""
    if context.process.get("apparmorProfile"):
        context.runtime_step(steps.require_lsm(name=APPARMOR), pointer=_APPARMOR_POINTER)
    for fields, pointer in ((context.process, _SELINUX_POINTER), (context.linux, _MOUNT_POINTER)):
        if fields.get(pointer.rpartition("/")[2]):
            context.runtime_step(steps.require_lsm(name=SELINUX), pointer=pointer)
            return


def label_keys(context: Context, on: bool) -> None:
    """Have the keys that are made from now on the process's label, or no more. SELinux only, as runc."""
    label = context.process.get("selinuxLabel")
    if label:
        context.init_step(
            steps.security_label(attribute="keycreate", label=label if on else ""), pointer=_SELINUX_POINTER
        )


def label_process(context: Context) -> None:
    """The label or profile that the process takes on when it becomes its program."""
    profile = context.process.get("apparmorProfile")
    if profile:
        context.init_step(
            steps.security_label(attribute="apparmor/exec", label="exec " + profile), pointer=_APPARMOR_POINTER
        )
    label = context.process.get("selinuxLabel")
    if label:
        context.init_step(steps.security_label(attribute="exec", label=label), pointer=_SELINUX_POINTER)


def mount_option(label: str, type: str, words: list[str], kind: str = "") -> list[str]:
    """The option that gives a new file system linux.mountLabel; none where its own options tell a context.

    kind: `context` or another of mount(8)'s options for SELinux, as crun's annotation names it; "" for `context`.
    """
    kind = kind or "context"
    if type in _NO_CONTEXT or any(word.startswith(("context=", kind + "=")) for word in words):
        return []
    return [f"{kind}={label}"]


def label_queues(context: Context, target: str) -> None:
    """Label the root of a new mqueue file system."""
    context.init_step(steps.file_label(path=target, label=context.linux["mountLabel"]), pointer=_MOUNT_POINTER)


def label_masks(context: Context) -> None:
    """Have the file system that hides directories made with the label."""
    if context.linux.get("maskedPaths"):
        context.init_step(steps.mask_label(label=context.linux["mountLabel"]), pointer=_MOUNT_POINTER)
