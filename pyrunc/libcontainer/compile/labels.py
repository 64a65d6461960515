"""The labels for Linux security modules: process.apparmorProfile, process.selinuxLabel, linux.mountLabel.

Only configurations with one of these fields import this module. The label of the process takes effect at the next
execve. It is written late, but before the process loses the right to do so.
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

# File systems that the kernel labels itself: it refuses a context option. The root of mqueue gets its label after the
# mount. As in runc.
_NO_CONTEXT = ("proc", "sysfs", "cgroup2", "mqueue")


def require_modules(context: Context) -> None:
    """Check that the modules are enabled, before the first effect."""
    if context.process.get("apparmorProfile"):
        context.runtime_step(steps.require_lsm(name=APPARMOR), pointer=_APPARMOR_POINTER)
    for fields, pointer in ((context.process, _SELINUX_POINTER), (context.linux, _MOUNT_POINTER)):
        if fields.get(pointer.rpartition("/")[2]):
            context.runtime_step(steps.require_lsm(name=SELINUX), pointer=pointer)
            return


def label_keys(context: Context, on: bool) -> None:
    """Give new keys the process's label, or stop doing so. SELinux only, as runc."""
    label = context.process.get("selinuxLabel")
    if label:
        context.init_step(
            steps.security_label(attribute="keycreate", label=label if on else ""), pointer=_SELINUX_POINTER
        )


def label_process(context: Context) -> None:
    """Set the label or profile that the process gets at its execve."""
    profile = context.process.get("apparmorProfile")
    if profile:
        context.init_step(
            steps.security_label(attribute="apparmor/exec", label="exec " + profile), pointer=_APPARMOR_POINTER
        )
    label = context.process.get("selinuxLabel")
    if label:
        context.init_step(steps.security_label(attribute="exec", label=label), pointer=_SELINUX_POINTER)


def mount_option(label: str, type: str, words: list[str], kind: str = "") -> list[str]:
    """The option that gives a new file system linux.mountLabel; none if its own options set a context.

    kind: mount(8)'s option for SELinux that crun's annotation names; "" for `context`.
    """
    kind = kind or "context"
    if type in _NO_CONTEXT or any(word.startswith(("context=", kind + "=")) for word in words):
        return []
    return [f"{kind}={label}"]


def label_queues(context: Context, target: str) -> None:
    """Label the root of a new mqueue file system."""
    context.init_step(steps.file_label(path=target, label=context.linux["mountLabel"]), pointer=_MOUNT_POINTER)


def label_masks(context: Context) -> None:
    """Give the tmpfs over masked directories the label."""
    if context.linux.get("maskedPaths"):
        context.init_step(steps.mask_label(label=context.linux["mountLabel"]), pointer=_MOUNT_POINTER)
