"""The step kinds: the one table that the compiler, the encoder, the C init and `pyrunc plan` share.

A launch plan is a list of steps, and each step has one of the kinds below. The table has for each kind who carries it
out (`runtime`, the Python parent, or `init`, the C program that becomes the container's process), the kernel call, and
the fields in the order of the wire. `generate/steps.py` makes `csrc/init/steps.gen.h` from the `init` kinds. The
position of a kind among them is its number on the wire.

Field types:

- `u32`, `u64`: unsigned decimal; `i64`: signed decimal
- `str`: text without NUL; `strv`: a list of such texts
- `fd`: the name of a slot that the runtime fills before the clone (`"sync"`, `"source:3"`), or None
- `flag`: a `u32` that is 0 or 1, for the compiler a bool
- `env`: a `strv`, or None for the runtime's own environment

Signs may follow the type, in this order:

- `?`: the field is optional: its default is 0, empty or None, and `pyrunc plan` does not show it then
- `*`: steps that differ only in such fields share a row of `pyrunc plan`
- `/FORM`: how `pyrunc plan` shows the number, a name in FORMS (show/values.py)

At the end of a row are the hints by errno: why the step may have failed, and what to do. ANY is for all other errnos.
Hints that depend on a step's arguments are in launch/errors.py.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

RUNTIME = "runtime"
INIT = "init"


# Types that the wire does not have, and the type that carries them.
_WIRE_TYPES = {"flag": "u32", "env": "strv"}

# The Python type of a field's value.
_PYTHON_TYPES = {
    "u32": "int", "u64": "int", "i64": "int", "flag": "bool", "str": "str", "strv": "tuple[str, ...]",
    "fd": "str | None", "env": "tuple[str, ...] | None",
}  # fmt: skip


# The key of hints for any other errno.
ANY = -1

# A condition that makes a hint wrong: a capability of the runtime, by its number, or that / is a mount point.
CAP_SYS_PTRACE = 19
CAP_SYS_NICE = 23
CAP_SYS_RESOURCE = 24
ROOT_IS_MOUNT_POINT = -2


class Hint:
    """A hint that does not hold if the runtime has a capability, or if ROOT_IS_MOUNT_POINT."""

    __slots__ = ("text", "unless")

    def __init__(self, text: str, *, unless: int) -> None:
        self.text = text
        self.unless = unless


class Kind:
    """One kind of step: its name, actor, kernel call, fields as (name, type on the wire) pairs, and what it does.

    hints: why it may have failed, by errno or ANY. python_types: the annotation of each field in the constructor.
    optional: the fields marked `?`. listed: those marked `*`. forms: how numbers are shown, by field.
    """

    __slots__ = ("actor", "call", "doc", "fields", "forms", "hints", "listed", "name", "optional", "python_types")

    def __init__(
        self, actor: str, name: str, call: str, fields: str, doc: str, hints: Mapping[int, str | Hint] | None = None
    ) -> None:
        """fields: as in the table, `"path:str mode:u32/octal recursive:flag?"`."""
        self.name = name
        self.actor = actor
        self.call = call
        self.doc = doc
        self.hints = hints or {}
        pairs = []
        self.python_types: dict[str, str] = {}
        self.forms: dict[str, str] = {}
        optional, listed = [], []
        for word in fields.split():
            field, _, rest = word.partition(":")
            signs, _, form = rest.partition("/")
            type_ = signs.rstrip("?*")
            if "?" in signs:
                optional.append(field)
            if "*" in signs:
                listed.append(field)
            if form:
                self.forms[field] = form
            pairs.append((field, _WIRE_TYPES.get(type_, type_)))
            self.python_types[field] = _PYTHON_TYPES[type_]
        self.fields: tuple[tuple[str, str], ...] = tuple(pairs)
        self.optional = tuple(optional)
        self.listed = tuple(listed)

    def hint(self, error: int) -> str | Hint:
        """The hint for a failure with this errno; "" for none."""
        return self.hints.get(error) or self.hints.get(ANY, "")


# Hints that several kinds share.
_SCHEDULER = (
    "it takes CAP_SYS_NICE or RLIMIT_RTPRIO and RLIMIT_NICE, SCHED_DEADLINE takes all of the host's CPUs, "
    "and with CONFIG_RT_GROUP_SCHED there is no realtime below the root cgroup"
)
_SCHEDULER_KNOWN = "this kernel does not know the policy (Linux has no SCHED_ISO), or not with these values"
_IO_PRIORITY = Hint("IOPRIO_CLASS_RT takes CAP_SYS_NICE", unless=CAP_SYS_NICE)
_OOM_SCORE = Hint("it is below the runtime's own, and it lacks CAP_SYS_RESOURCE", unless=CAP_SYS_RESOURCE)
_NO_PTRACE = Hint("the runtime lacks CAP_SYS_PTRACE", unless=CAP_SYS_PTRACE)
_CHROOT = Hint(
    "the root is no mount point, as in a chroot: enter it by pivot_root in a mount namespace of its own, or bind it on "
    "itself first",
    unless=ROOT_IS_MOUNT_POINT,
)
_MAGIC_LINKS = "a loop of symlinks, or a link of /proc to a descriptor or process, which is not followed"
_LOCKED = "a user namespace can't take nosuid, nodev, noexec and ro from mounts of the host, which are locked"
_DESTINATION = "the destination, or what is above it in the rootfs, can't be a mount point"
_ROOTFS = "root.path is the directory with the container's files, absolute or relative to the bundle"
_PASS = "may the root of the container's user namespace pass the directories above the rootfs? chmod a+x"
_CWD = "process.cwd is to be a directory in the container"

_RUNTIME_KINDS = (
    # before any effect
    ("compile_seccomp", "seccomp_export_bpf", "slot:str default_action:str syscalls:u32 instructions:u32?",
     "take the seccomp filter from the cache, or compile it by libseccomp"),
    ("raw_seccomp", "memfd_create", "slot:str data:str",
     "take the seccomp filter from the annotation, as it is"),
    ("open_hook_output", "open", "slot:str path:str", "open the file to which hooks write"),
    # prepare: effects on the host, each in the ledger before it is made
    ("state_dir", "mkdir", "path:str", "make the container's state directory; its existence claims the id",
     {errno.EACCES: "set XDG_RUNTIME_DIR, or name a directory of this user's by --root"}),
    ("open_files", "setrlimit", "limit:u64",
     "raise the runtime's own soft limit of open files to what the mounts' sources take; the container gets the "
     "caller's"),
    ("require_lsm", "read", "name:str", "make sure that the security module is at work on this host"),
    ("notify_socket", "mkdir+bind", "path:str host:str",
     "make the directory and, with run, the socket from which notifications go to the service manager's"),
    ("cgroup_create", "mkdir", "path:str", "make the container's cgroup and the missing ones above it"),
    ("systemd_scope", "StartTransientUnit", "unit:str path:str manager:str properties:strv",
     "have systemd make a scope with the init in it, and wait until it is there"),
    ("systemd_attach", "AttachProcessesToUnit", "unit:str subcgroup:str",
     "have the user's systemd put the process into the container's scope, into which the runtime may not clone"),
    ("cgroup_controllers", "write", "path:str needed:strv wanted:strv",
     "enable the controllers in cgroup.subtree_control from the hierarchy's root down to the cgroup; those that are "
     "needed must be there, the others are for statistics"),
    ("cgroup_check_memory", "read", "limit:i64 swap:i64",
     "see that less memory is in use than the limits will allow (memory.current)"),
    ("cgroup_limit", "write", "file:str value:str optional:flag?",
     "write a control file of the cgroup; optional: a kernel without it has nothing to limit",
     {errno.EINVAL: "the kernel does not take this value",
      errno.ERANGE: "the kernel does not take this value",
      errno.EBUSY: "more than this is in use",
      errno.EACCES: "the cgroup is not delegated to the runtime's user",
      errno.EPERM: "the cgroup is not delegated to the runtime's user",
      errno.ENODEV: "there is no such device",
      errno.EOPNOTSUPP: "the device or the kernel does not support it"}),
    ("cgroup_owner", "fchownat", "path:str uid:u32",
     "give the cgroup, and the files in it by which cgroups below it are managed, to the container's user"),
    ("cgroup_devices", "bpf", "path:str rules:strv", "attach the device rules to the cgroup as an eBPF program"),
    ("resctrl_group", "mkdir", "clos:str make:u32/resctrl_make schemata:strv",
     "make or find the class of service, and set its shares of caches and memory bandwidth"),
    ("resctrl_monitor", "mkdir", "clos:str group:str", "make the container's monitoring group"),
    ("host_mounts", "read", "rootfs:str",
     "see what is mounted on the rootfs, since the container's mounts will be made on the host, above it"),
    ("start_socket", "bind", "path:str", "listen on the socket by which `start` reaches the waiting init"),
    ("console_socket", "connect", "path:str", "connect to the socket that receives the pty's master"),
    ("open_source", "open_tree", "slot:str path:str recursive:flag? nofollow:flag?",
     "open a bind mount's source on the host, which the container's user namespace may not reach",
     {errno.ENOENT: "does the mount's source exist?"}),
    ("make_idmap", "clone(CLONE_NEWUSER)", "idmap:str uids:strv gids:strv",
     "make a user namespace whose id maps are those of mounts"),
    ("open_mapped_source", "open_tree+mount_setattr",
     "slot:str path:str recursive:flag? nofollow:flag? idmap:str below:flag",
     "open a bind mount's source on the host and map the ids of its files by a user namespace",
     {errno.ENOENT: "does the mount's source exist?",
      errno.EINVAL: "the source's file system can't map ids, or not in this kernel",
      errno.EPERM: "the ids of the source are mapped already, or a user namespace mounted it"}),
    ("open_process", "pidfd_open", "slot:str pid:u32 start_time:u64",
     "open the container's process, whose namespaces are to be joined; its start time tells that it still is that one"),
    ("initial_cpu_affinity", "sched_setaffinity", "cpus:strv", "run on these CPUs, so that the init begins on them"),
    ("inherit_oom_score_adj", "write", "value:i64",
     "have this oom_score_adj until the init, which inherits it, is cloned",
     {errno.EACCES: _OOM_SCORE}),
    ("open_namespace", "open", "slot:str type:str path:str", "open a namespace to join and check its type",
     {ANY: "the path is that of a namespace of this type, such as /proc/PID/ns/TYPE"}),
    ("check_maps", "setns+read", "slot:str uids:strv gids:strv",
     "see that the user namespace that is joined has the mappings of the configuration",
     {errno.EINVAL: "the runtime is in that user namespace itself"}),
    ("clone", "clone3", "flags:u64?/namespaces cgroup:str? join:strv?",
     "clone the init straight into its new namespaces and its cgroup; joined namespaces are entered first"),
    # served at a request of init
    ("map_source", "mount_setattr", "idmap:str below:flag",
     "map the ids of the mount that the init has sent by a user namespace",
     {errno.EINVAL: "the source's file system can't map ids, or not in this kernel",
      errno.EPERM: "the ids of the source are mapped already"}),
    ("warn_locked", "statvfs", "path:str attr_clr:u64/attr",
     "warn that flags of the source stay, since they are locked in the user namespace"),
    ("write_map", "write", "file:str lines:strv", "write a user namespace's uid_map or gid_map"),
    ("map_by_tool", "posix_spawn", "path:str file:str lines:strv",
     "have newuidmap or newgidmap write the map, of ids that /etc/subuid and /etc/subgid give to the runtime's user"),
    ("write_setgroups", "write", "value:str", "allow or deny setgroups in the user namespace (CVE-2014-8989)"),
    ("prlimit", "prlimit", "resource:u32/rlimit soft:u64/limit hard:u64/limit",
     "set a resource limit of the init from outside"),
    ("write_oom_score_adj", "write", "value:i64", "set the init's oom_score_adj from outside",
     {errno.EACCES: _OOM_SCORE}),
    ("set_scheduler", "sched_setattr",
     "policy:u32/sched_policy flags:u64?/sched_flags nice:i64 priority:u32 runtime:u64? deadline:u64? period:u64?",
     "set the init's scheduling policy from outside",
     {errno.EPERM: _SCHEDULER,
      errno.EINVAL: _SCHEDULER_KNOWN,
      errno.EOPNOTSUPP: "this kernel has no utilization clamping"}),
    ("set_io_priority", "ioprio_set", "class:u32/io_class priority:u32",
     "set the I/O priority of the init's process group",
     {errno.EPERM: _IO_PRIORITY}),
    ("net_device", "sendmsg(RTM_NEWLINK)", "name:str new_name:str path:str",
     "move a network device into the container's network namespace, with its addresses, and set it up",
     {errno.EINVAL: "the kernel does not let this kind of device change its network namespace",
      errno.ENODEV: "ip link shows the devices of the runtime's network namespace"}),
    ("resctrl_assign", "write", "clos:str group:str",
     "put the init into its class of service and its monitoring group"),
    ("runtime_hook", "posix_spawn", "hook:str index:u32 path:str args:strv env:env timeout:i64?",
     "run a hook in the runtime's namespaces, the container's state on its stdin"),
    ("send_listener", "pidfd_getfd+sendmsg", "path:str metadata:str",
     "take the seccomp listener out of the init and send it to the agent, with the container's state",
     {errno.EPERM: _NO_PTRACE}),
    ("receive_console", "recvmsg", "relay:flag", "take the pty's master from init; pass it on or relay it"),
    ("send_pidfd", "connect+sendmsg", "path:str", "send a descriptor of the process to a socket"),
    ("save_state", "rename", "path:str", "write state.json: the container is created"),
    ("write_pid_file", "rename", "path:str", "write the pid file"),
)  # fmt: skip

_INIT_KINDS = (
    # the two sides meet
    ("request", "sendmsg", "what:str", "ask the runtime for its part and wait for the answer"),
    ("ready", "sendmsg", "", "say that only the start is missing, and wait until the runtime has recorded it"),
    ("await_start", "accept4", "listener:fd?", "wait for `start`; with no listener the runtime's answer was the start"),
    # changing a container that runs: the init ends then
    ("send_root", "sendmsg", "",
     "send the root of the container's mounts to the runtime, which from now on writes down what is made and attached"),
    ("copy_mount", "open_tree+sendmsg", "path:str",
     "send a detached copy of what is mounted on a path, from which it can be mounted again"),
    ("umount", "umount2", "path:str detach:flag",
     "unmount what is mounted on a path without symbolic links; detach: also where it is in use"),
    ("remove_device", "unlinkat", "path:str mode:u32 major:u32 minor:u32",
     "remove a device node, where it still is that of this device"),
    ("end", "exit_group", "", "end: all is done"),
    # namespaces
    ("become_root", "setresuid", "", "become uid 0 and gid 0 of the new user namespace"),
    ("unshare", "unshare", "flags:u64/namespaces", "leave namespaces that can't be made by the clone itself",
     {errno.EINVAL: "this kernel has no namespaces of this type"}),
    ("time_offset", "write", "clock:str* secs:i64* nanosecs:u32*", "set a clock's offset in the new time namespace",
     {ANY: "no clock may become negative, or leave its range"}),
    ("enter_time", "setns", "", "enter the new time namespace"),
    ("set_nondumpable", "prctl", "",
     "no ptrace and no /proc/PID access for the container's other processes (CVE-2016-9962)"),
    ("session_keyring", "keyctl", "name:str", "join a new session keyring",
     {errno.EPERM: "--no-new-keyring leaves the container the caller's session keyring"}),
    ("hostname", "sethostname", "name:str", "set the host name"),
    ("domainname", "setdomainname", "name:str", "set the NIS domain name"),
    ("loopback_up", "ioctl", "", "bring the loopback device of the new network namespace up"),
    ("sysctl", "write", "path:str* value:str*", "write a file under /proc/sys, through a verified procfs descriptor",
     {errno.ENOENT: "this kernel has no such sysctl in the container's namespaces",
      ANY: "the kernel does not take this value"}),
    # rootfs
    ("propagation", "mount_setattr", "flag:u64/propagation recursive:flag?", "set the propagation of the mount at /",
     {errno.EINVAL: _CHROOT}),
    ("parent_private", "mount_setattr", "path:str",
     "make the mount that holds the rootfs private, so that the mounts to come stay in here",
     {errno.EACCES: _PASS, ANY: _ROOTFS}),
    ("rootfs", "open_tree+move_mount", "path:str source:fd?",
     "bind the rootfs on itself and keep its descriptor: all later paths are resolved inside it",
     {errno.EACCES: _PASS, ANY: _ROOTFS}),
    ("mount", "fsopen+fsmount+move_mount",
     "fstype:str source:str target:str options:strv attr_set:u64?/attr propagation:u64?/propagation copyup:flag? "
     "keep:u32?",
     "make a file system and mount it on a directory inside the rootfs",
     {errno.EINVAL: "the file system does not take these options, or not in the container's user namespace",
      errno.ENOTDIR: _DESTINATION,
      errno.EROFS: _DESTINATION,
      errno.ENODEV: "the kernel knows no such file system"}),
    ("bind", "open_tree+move_mount",
     "source:str source_fd:fd? target:str recursive:flag? links:u32? attr_set:u64?/attr attr_clr:u64?/attr "
     "rattr_set:u64?/attr rattr_clr:u64?/attr propagation:u64?/propagation keep:u32?",
     "bind a file or directory of the host inside the rootfs",
     {errno.ENOENT: "does the mount's source exist?",
      errno.ENOTDIR: _DESTINATION,
      errno.EROFS: _DESTINATION,
      errno.EPERM: _LOCKED}),
    ("open_inside", "open_tree+sendmsg", "source:str recursive:flag? links:u32? what:str keep:u32",
     "open a bind mount's source inside the rootfs and have the runtime map the ids of its files",
     {errno.ENOENT: "does the mount's source exist?"}),
    ("change_flags", "mount_setattr",
     "keep:u32 attr_set:u64?/attr attr_clr:u64?/attr rattr_set:u64?/attr rattr_clr:u64?/attr",
     "change flags of a kept mount, which a user namespace may not be permitted to"),
    ("close_sources", "close", "",
     "let go of the mounts' sources that the runtime has opened, before the caller's limit of open files is set"),
    ("bind_cgroup", "open_tree+move_mount", "source:str target:str attr_set:u64?/attr",
     "bind the container's part of the cgroup tree, where a new cgroup2 mount is refused"),
    ("remount", "mount_setattr",
     "target:str attr_set:u64?/attr attr_clr:u64?/attr rattr_set:u64?/attr rattr_clr:u64?/attr "
     "propagation:u64?/propagation",
     "change the attributes of what is mounted at a target",
     {errno.EPERM: _LOCKED}),
    ("file_label", "fsetxattr", "path:str* label:str", "give a directory inside the rootfs an SELinux label"),
    ("seal_mount", "mount_setattr", "keep:u32 attr_set:u64/attr",
     "make a kept mount read-only, now that its content is there"),
    ("mknod", "mknodat", "path:str* mode:u32/device_mode major:u32* minor:u32* uid:u32 gid:u32", "make a device node"),
    ("bind_device", "open_tree+move_mount", "source:str* path:str*",
     "bind the host's device, where mknod is not permitted"),
    ("symlink", "symlinkat", "target:str* path:str*", "make a symbolic link inside the rootfs"),
    ("console", "open+ioctl(TIOCGPTPEER)", "ptmx:str width:u32? height:u32? mount:flag",
     "open a pty of the container's devpts, bind its slave on /dev/console, keep it for stdio"),
    ("send_console", "sendmsg", "", "send the pty's master to the runtime"),
    ("make_cwd", "mkdirat", "path:str", "make the working directory where it is missing",
     {errno.ELOOP: _MAGIC_LINKS,
      ANY: _CWD}),
    ("mask_label", "fsopen+fsmount", "label:str",
     "make the empty tmpfs that hides directories, with an SELinux label"),
    ("mask_path", "open_tree+move_mount", "path:str*",
     "hide a file behind /dev/null, a directory behind an empty tmpfs"),
    ("readonly_path", "mount_setattr", "path:str*", "bind a path on itself, read-only"),
    ("readonly_rootfs", "mount_setattr", "", "make the rootfs read-only"),
    ("container_hook", "clone+execve",
     "hook:str index:u32 path:str args:strv env:strv timeout:i64? state_head:str state_tail:str "
     "output:fd? errors:fd? cwd:str home:flag",
     "run a hook in the container's namespaces; the state on its stdin is head, pid, tail"),
    ("pivot_root", "pivot_root", "", "make the rootfs the root and let go of the old one"),
    ("move_root", "mount(MS_MOVE)+chroot", "", "make the rootfs the root without pivot_root (--no-pivot)"),
    ("chroot", "chroot", "path:str", "change the root only: the container has no mount namespace of its own",
     {ANY: _ROOTFS}),
    ("root_propagation", "mount_setattr", "flag:u64/propagation recursive:flag?",
     "set linux.rootfsPropagation on the new root"),
    ("reopen_null", "open+dup2", "", "replace the host's /dev/null in the standard streams by the container's own",
     {errno.ENOENT: "a mount hides the container's own /dev"}),
    # process
    ("terminal_stdio", "dup3+ioctl(TIOCSCTTY)", "", "a new session with the pty as its controlling terminal and stdio"),
    ("new_session", "setsid", "", "a new session without a terminal"),
    ("stdio_owner", "fchown", "uid:u32", "give the standard streams to the process's user"),
    ("landlock_ruleset", "landlock_create_ruleset",
     "handled_fs:u64?/landlock_fs handled_net:u64?/landlock_net scoped:u64?/landlock_scopes",
     "make a Landlock ruleset: what it handles is refused where no rule allows it"),
    ("landlock_path", "openat2+landlock_add_rule", "path:str* access:u64/landlock_fs if_there:flag?",
     "allow access beneath a path of the container",
     {errno.ENOENT: "the path is not in the container",
      errno.ELOOP: _MAGIC_LINKS,
      errno.EBADFD: "the path leads to a file of the kernel's own, which takes no rules"}),
    ("landlock_port", "landlock_add_rule", "port:u32* access:u64/landlock_net", "allow access for a TCP port"),
    ("rlimit", "setrlimit", "resource:u32/rlimit soft:u64/limit hard:u64/limit", "set a resource limit"),
    ("oom_score_adj", "write", "value:i64", "set oom_score_adj",
     {errno.EACCES: _OOM_SCORE}),
    ("scheduler", "sched_setattr",
     "policy:u32/sched_policy flags:u64?/sched_flags nice:i64 priority:u32 runtime:u64? deadline:u64? period:u64?",
     "set the scheduling policy and its parameters",
     {errno.EPERM: _SCHEDULER,
      errno.EINVAL: _SCHEDULER_KNOWN,
      errno.EOPNOTSUPP: "this kernel has no utilization clamping"}),
    ("cpu_affinity", "sched_setaffinity", "cpus:strv?",
     "run on these CPUs; where none is named, on all that the cgroup allows"),
    ("io_priority", "ioprio_set", "class:u32/io_class priority:u32", "set the I/O priority of the process group",
     {errno.EPERM: _IO_PRIORITY}),
    ("personality", "personality", "domain:u32/personality",
     "set the execution domain, by which uname tells the machine"),
    ("memory_policy", "set_mempolicy", "mode:u32/memory_mode flags:u32?/memory_flags nodes:strv",
     "set from which NUMA nodes memory comes",
     {errno.EINVAL: "the nodes must have memory, and be in the container's cpuset.mems",
      errno.ENOSYS: "this kernel has no NUMA"}),
    ("security_label", "write", "attribute:str label:str",
     "tell the security module the label that the next exec, or new key, is to have",
     {errno.ENOENT: "is the profile loaded (aa-status)?",
      errno.EINVAL: "does the policy that is loaded know the label?",
      errno.EACCES: "the policy does not let the runtime's own domain or profile change to this one"}),
    ("no_new_privileges", "prctl", "", "set no_new_privs"),
    ("keep_fds", "close_range", "first:u32", "mark every descriptor from this one on close-on-exec (CVE-2024-21626)"),
    ("bounding", "prctl", "keep:u64/capabilities", "drop all other capabilities from the bounding set"),
    ("user", "setgroups+setresgid+setresuid", "uid:u32 gid:u32 groups:strv set_groups:u32",
     "become the process's user, keeping capabilities until they are set; set_groups: 0 no, 1 yes, 2 where allowed",
     {errno.EINVAL: "an id of process.user is not mapped in the container's user namespace"}),
    ("chdir", "chdir", "path:str", "enter the working directory and check that it is inside the root (CVE-2024-21626)",
     {errno.EACCES: "process.user may not enter process.cwd",
      errno.ELOOP: _MAGIC_LINKS,
      ANY: _CWD}),
    ("capabilities", "capset", "effective:u64/capabilities permitted:u64/capabilities inheritable:u64/capabilities",
     "set the capability sets"),
    ("ambient", "prctl", "caps:u64/capabilities", "raise the ambient capabilities"),
    ("umask", "umask", "mask:u32/octal", "set the file mode creation mask"),
    ("home", "setenv", "uid:u32", "set HOME from the container's /etc/passwd"),
    ("find_executable", "faccessat2", "name:str path:str",
     "find the program in PATH, so that create can say it is missing",
     {ANY: "process.args[0] is a file in the rootfs, or a name to be found by the PATH of process.env"}),
    ("map_seccomp", "mmap", "filter:fd", "map the seccomp filter, so that its descriptor can go"),
    ("seccomp", "seccomp", "flags:u32?/seccomp_flags notify:flag?",
     "load the seccomp filter; with notify the runtime takes its listener",
     {errno.EACCES: "without process.noNewPrivileges it needs CAP_SYS_ADMIN",
      errno.EBUSY: "the runtime itself runs under a filter with a listener, and the kernel allows one only",
      errno.EINVAL: "does the kernel know all of linux.seccomp.flags?"}),
    ("landlock_restrict", "landlock_restrict_self", "flags:u32?/landlock_flags",
     "enforce the Landlock ruleset on this process and all that it starts",
     {errno.EPERM: "without process.noNewPrivileges it needs CAP_SYS_ADMIN",
      errno.E2BIG: "16 rulesets are enforced already, those that the runtime itself is under included"}),
    ("execute", "execve", "args:strv env:strv", "become the container's process",
     {errno.ENOENT: "is the program, or the interpreter that it names, in the rootfs?",
      errno.EACCES: "is the file executable?",
      errno.ENOEXEC: "is it built for this machine, and if a script, does it begin with #!?"}),
)  # fmt: skip

RUNTIME_KINDS: tuple[Kind, ...] = tuple(Kind(RUNTIME, *row) for row in _RUNTIME_KINDS)
INIT_KINDS: tuple[Kind, ...] = tuple(Kind(INIT, *row) for row in _INIT_KINDS)
KINDS: dict[str, Kind] = {kind.name: kind for kind in RUNTIME_KINDS + INIT_KINDS}
NUMBERS: dict[str, int] = {kind.name: number for number, kind in enumerate(INIT_KINDS)}
