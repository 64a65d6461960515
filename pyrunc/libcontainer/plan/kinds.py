"""The step kinds: the one table that the compiler, the encoder, the C init and `pyrunc plan` share.

A launch plan is a list of steps, and each step is of one of the kinds below. The table says for each kind
who carries it out (`runtime`, the Python parent, or `init`, the C program that becomes the container's
process), which kernel call does the work, and the fields in the order in which they travel. `generate/steps.py`
makes `csrc/init/steps.gen.h` from the `init` kinds; the position of a kind among them is its number on the wire.

Field types:

- `u32`, `u64`: unsigned decimal; `i64`: signed decimal
- `str`: text without NUL; `strv`: a list of such texts
- `fd`: the name of a slot that the runtime fills before the clone (`"sync"`, `"source:3"`), or None
- `flag`: a `u32` that is 0 or 1, for the compiler a bool
- `env`: a `strv`, or None for the runtime's own environment

A field with `?` behind its type is mostly 0, empty or None: its constructor's argument may be left out, and a zero is
not shown.
"""

from __future__ import annotations

RUNTIME = "runtime"
INIT = "init"


# How a type that the wire does not know travels.
_WIRE_TYPES = {"flag": "u32", "env": "strv"}

# What a field's value is in Python, by its type.
_PYTHON_TYPES = {
    "u32": "int", "u64": "int", "i64": "int", "flag": "bool", "str": "str", "strv": "tuple[str, ...]",
    "fd": "str | None", "env": "tuple[str, ...] | None",
}  # fmt: skip


class Kind:
    """One kind of step: its name, actor, kernel call, fields as (name, type on the wire) pairs, and what it does.

    python_types: the annotation of each field in the constructor. optional: the fields that it may leave out.
    """

    __slots__ = ("actor", "call", "doc", "fields", "name", "optional", "python_types")

    def __init__(self, name: str, actor: str, call: str, fields: str, doc: str) -> None:
        """fields: as in the table, `"path:str mode:u32 recursive:flag?"`."""
        self.name = name
        self.actor = actor
        self.call = call
        self.doc = doc
        pairs = []
        self.python_types: dict[str, str] = {}
        optional = set()
        for word in fields.split():
            field, _, type_ = word.partition(":")
            if type_.endswith("?"):
                type_ = type_[:-1]
                optional.add(field)
            pairs.append((field, _WIRE_TYPES.get(type_, type_)))
            self.python_types[field] = _PYTHON_TYPES[type_]
        self.fields: tuple[tuple[str, str], ...] = tuple(pairs)
        self.optional = frozenset(optional)


_RUNTIME_KINDS = (
    # before any effect
    ("compile_seccomp", "seccomp_export_bpf", "slot:str default_action:str syscalls:u32 instructions:u32?",
     "take the seccomp filter from the cache, or compile it by libseccomp"),
    ("raw_seccomp", "memfd_create", "slot:str data:str",
     "take the seccomp filter from the annotation, as it is"),
    ("open_hook_output", "open", "slot:str path:str", "open the file to which hooks write"),
    # prepare: effects on the host, each in the ledger before it is made
    ("state_dir", "mkdir", "path:str", "make the container's state directory; its existence claims the id"),
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
     "write a control file of the cgroup; optional: a kernel without it has nothing to limit"),
    ("cgroup_owner", "fchownat", "path:str uid:u32",
     "give the cgroup, and the files in it by which cgroups below it are managed, to the container's user"),
    ("cgroup_devices", "bpf", "path:str rules:strv", "attach the device rules to the cgroup as an eBPF program"),
    ("resctrl_group", "mkdir", "clos:str make:u32 schemata:strv",
     "make or find the class of service, and set its shares of caches and memory bandwidth"),
    ("resctrl_monitor", "mkdir", "clos:str group:str", "make the container's monitoring group"),
    ("host_mounts", "read", "rootfs:str",
     "see what is mounted on the rootfs, since the container's mounts will be made on the host, above it"),
    ("start_socket", "bind", "path:str", "listen on the socket by which `start` reaches the waiting init"),
    ("console_socket", "connect", "path:str", "connect to the socket that receives the pty's master"),
    ("open_source", "open_tree", "slot:str path:str recursive:flag? nofollow:flag?",
     "open a bind mount's source on the host, which the container's user namespace may not reach"),
    ("make_idmap", "clone(CLONE_NEWUSER)", "idmap:str uids:strv gids:strv",
     "make a user namespace whose id maps are those of mounts"),
    ("open_mapped_source", "open_tree+mount_setattr",
     "slot:str path:str recursive:flag? nofollow:flag? idmap:str below:flag",
     "open a bind mount's source on the host and map the ids of its files by a user namespace"),
    ("open_process", "pidfd_open", "slot:str pid:u32 start_time:u64",
     "open the container's process, whose namespaces are to be joined; its start time tells that it still is that one"),
    ("initial_cpu_affinity", "sched_setaffinity", "cpus:strv", "run on these CPUs, so that the init begins on them"),
    ("inherit_oom_score_adj", "write", "value:i64",
     "have this oom_score_adj until the init, which inherits it, is cloned"),
    ("open_namespace", "open", "slot:str type:str path:str", "open a namespace to join and check its type"),
    ("check_maps", "setns+read", "slot:str uids:strv gids:strv",
     "see that the user namespace that is joined has the mappings of the configuration"),
    ("clone", "clone3", "flags:u64? cgroup:str? join:strv?",
     "clone the init straight into its new namespaces and its cgroup; joined namespaces are entered first"),
    # served at a request of init
    ("map_source", "mount_setattr", "idmap:str below:flag",
     "map the ids of the mount that the init has sent by a user namespace"),
    ("warn_locked", "statvfs", "path:str attr_clr:u64",
     "warn that flags of the source stay, since they are locked in the user namespace"),
    ("write_map", "write", "file:str lines:strv", "write a user namespace's uid_map or gid_map"),
    ("map_by_tool", "posix_spawn", "path:str file:str lines:strv",
     "have newuidmap or newgidmap write the map, of ids that /etc/subuid and /etc/subgid give to the runtime's user"),
    ("write_setgroups", "write", "value:str", "allow or deny setgroups in the user namespace (CVE-2014-8989)"),
    ("prlimit", "prlimit", "resource:u32 soft:u64 hard:u64", "set a resource limit of the init from outside"),
    ("write_oom_score_adj", "write", "value:i64", "set the init's oom_score_adj from outside"),
    ("set_scheduler", "sched_setattr",
     "policy:u32 flags:u64? nice:i64 priority:u32 runtime:u64? deadline:u64? period:u64?",
     "set the init's scheduling policy from outside"),
    ("set_io_priority", "ioprio_set", "class:u32 priority:u32", "set the I/O priority of the init's process group"),
    ("net_device", "sendmsg(RTM_NEWLINK)", "name:str new_name:str path:str",
     "move a network device into the container's network namespace, with its addresses, and set it up"),
    ("resctrl_assign", "write", "clos:str group:str",
     "put the init into its class of service and its monitoring group"),
    ("runtime_hook", "posix_spawn", "hook:str index:u32 path:str args:strv env:env timeout:i64?",
     "run a hook in the runtime's namespaces, the container's state on its stdin"),
    ("send_listener", "pidfd_getfd+sendmsg", "path:str metadata:str",
     "take the seccomp listener out of the init and send it to the agent, with the container's state"),
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
    ("unshare", "unshare", "flags:u64", "leave namespaces that can't be made by the clone itself"),
    ("time_offset", "write", "clock:str secs:i64 nanosecs:u32", "set a clock's offset in the new time namespace"),
    ("enter_time", "setns", "", "enter the new time namespace"),
    ("undumpable", "prctl", "",
     "no ptrace and no /proc/PID access for the container's other processes (CVE-2016-9962)"),
    ("session_keyring", "keyctl", "name:str", "join a new session keyring"),
    ("hostname", "sethostname", "name:str", "set the host name"),
    ("domainname", "setdomainname", "name:str", "set the NIS domain name"),
    ("loopback_up", "ioctl", "", "bring the loopback device of the new network namespace up"),
    ("sysctl", "write", "path:str value:str", "write a file under /proc/sys, through a verified procfs descriptor"),
    # rootfs
    ("propagation", "mount_setattr", "flag:u64 recursive:flag?", "set the propagation of the mount at /"),
    ("parent_private", "mount_setattr", "path:str",
     "make the mount that holds the rootfs private, so that the mounts to come stay in here"),
    ("rootfs", "open_tree+move_mount", "path:str source:fd?",
     "bind the rootfs on itself and keep its descriptor: all later paths are resolved inside it"),
    ("mount", "fsopen+fsmount+move_mount",
     "fstype:str source:str target:str options:strv attr_set:u64? propagation:u64? copyup:flag? keep:u32?",
     "make a file system and mount it on a directory inside the rootfs"),
    ("bind", "open_tree+move_mount",
     "source:str source_fd:fd? target:str recursive:flag? links:u32? attr_set:u64? attr_clr:u64? rattr_set:u64? "
     "rattr_clr:u64? propagation:u64? keep:u32?",
     "bind a file or directory of the host inside the rootfs"),
    ("open_inside", "open_tree+sendmsg", "source:str recursive:flag? links:u32? what:str keep:u32",
     "open a bind mount's source inside the rootfs and have the runtime map the ids of its files"),
    ("change_flags", "mount_setattr", "keep:u32 attr_set:u64? attr_clr:u64? rattr_set:u64? rattr_clr:u64?",
     "change flags of a kept mount, which a user namespace may not be permitted to"),
    ("close_sources", "close", "",
     "let go of the mounts' sources that the runtime has opened, before the caller's limit of open files is set"),
    ("bind_cgroup", "open_tree+move_mount", "source:str target:str attr_set:u64?",
     "bind the container's part of the cgroup tree, where a new cgroup2 mount is refused"),
    ("remount", "mount_setattr",
     "target:str attr_set:u64? attr_clr:u64? rattr_set:u64? rattr_clr:u64? propagation:u64?",
     "change the attributes of what is mounted at a target"),
    ("file_label", "fsetxattr", "path:str label:str", "give a directory inside the rootfs an SELinux label"),
    ("seal_mount", "mount_setattr", "keep:u32 attr_set:u64",
     "make a kept mount read-only, now that its content is there"),
    ("mknod", "mknodat", "path:str mode:u32 major:u32 minor:u32 uid:u32 gid:u32", "make a device node"),
    ("bind_device", "open_tree+move_mount", "source:str path:str",
     "bind the host's device, where mknod is not permitted"),
    ("symlink", "symlinkat", "target:str path:str", "make a symbolic link inside the rootfs"),
    ("console", "open+ioctl(TIOCGPTPEER)", "ptmx:str width:u32? height:u32? mount:flag",
     "open a pty of the container's devpts, bind its slave on /dev/console, keep it for stdio"),
    ("send_console", "sendmsg", "", "send the pty's master to the runtime"),
    ("make_cwd", "mkdirat", "path:str", "make the working directory where it is missing"),
    ("mask_label", "fsopen+fsmount", "label:str",
     "make the empty tmpfs that hides directories, with an SELinux label"),
    ("mask_path", "open_tree+move_mount", "path:str",
     "hide a file behind /dev/null, a directory behind an empty tmpfs"),
    ("readonly_path", "mount_setattr", "path:str", "bind a path on itself, read-only"),
    ("readonly_rootfs", "mount_setattr", "", "make the rootfs read-only"),
    ("container_hook", "clone+execve",
     "hook:str index:u32 path:str args:strv env:strv timeout:i64? state_head:str state_tail:str "
     "output:fd? errors:fd? cwd:str home:flag",
     "run a hook in the container's namespaces; the state on its stdin is head, pid, tail"),
    ("pivot_root", "pivot_root", "", "make the rootfs the root and let go of the old one"),
    ("move_root", "mount(MS_MOVE)+chroot", "", "make the rootfs the root without pivot_root (--no-pivot)"),
    ("chroot", "chroot", "path:str", "change the root only: the container has no mount namespace of its own"),
    ("root_propagation", "mount_setattr", "flag:u64 recursive:flag?", "set linux.rootfsPropagation on the new root"),
    ("reopen_null", "open+dup2", "", "replace the host's /dev/null in the standard streams by the container's own"),
    # process
    ("terminal_stdio", "dup3+ioctl(TIOCSCTTY)", "", "a new session with the pty as its controlling terminal and stdio"),
    ("new_session", "setsid", "", "a new session without a terminal"),
    ("stdio_owner", "fchown", "uid:u32", "give the standard streams to the process's user"),
    ("rlimit", "setrlimit", "resource:u32 soft:u64 hard:u64", "set a resource limit"),
    ("oom_score_adj", "write", "value:i64", "set oom_score_adj"),
    ("scheduler", "sched_setattr",
     "policy:u32 flags:u64? nice:i64 priority:u32 runtime:u64? deadline:u64? period:u64?",
     "set the scheduling policy and its parameters"),
    ("cpu_affinity", "sched_setaffinity", "cpus:strv?",
     "run on these CPUs; where none is named, on all that the cgroup allows"),
    ("io_priority", "ioprio_set", "class:u32 priority:u32", "set the I/O priority of the process group"),
    ("personality", "personality", "domain:u32", "set the execution domain, by which uname tells the machine"),
    ("memory_policy", "set_mempolicy", "mode:u32 flags:u32? nodes:strv", "set from which NUMA nodes memory comes"),
    ("security_label", "write", "attribute:str label:str",
     "tell the security module the label that the next exec, or new key, is to have"),
    ("no_new_privileges", "prctl", "", "set no_new_privs"),
    ("keep_fds", "close_range", "first:u32", "mark every descriptor from this one on close-on-exec (CVE-2024-21626)"),
    ("bounding", "prctl", "keep:u64", "drop all other capabilities from the bounding set"),
    ("user", "setgroups+setresgid+setresuid", "uid:u32 gid:u32 groups:strv set_groups:u32",
     "become the process's user, keeping capabilities until they are set; set_groups: 0 no, 1 yes, 2 where allowed"),
    ("chdir", "chdir", "path:str", "enter the working directory and check that it is inside the root (CVE-2024-21626)"),
    ("capabilities", "capset", "effective:u64 permitted:u64 inheritable:u64", "set the capability sets"),
    ("ambient", "prctl", "caps:u64", "raise the ambient capabilities"),
    ("umask", "umask", "mask:u32", "set the file mode creation mask"),
    ("home", "setenv", "uid:u32", "set HOME from the container's /etc/passwd"),
    ("find_executable", "faccessat2", "name:str path:str",
     "find the program in PATH, so that create can say it is missing"),
    ("map_seccomp", "mmap", "filter:fd", "map the seccomp filter, so that its descriptor can go"),
    ("seccomp", "seccomp", "flags:u32? notify:flag?",
     "load the seccomp filter; with notify the runtime takes its listener"),
    ("execute", "execve", "args:strv env:strv", "become the container's process"),
)  # fmt: skip

RUNTIME_KINDS: tuple[Kind, ...] = tuple(Kind(n, RUNTIME, c, f, d) for n, c, f, d in _RUNTIME_KINDS)
INIT_KINDS: tuple[Kind, ...] = tuple(Kind(n, INIT, c, f, d) for n, c, f, d in _INIT_KINDS)
KINDS: dict[str, Kind] = {kind.name: kind for kind in RUNTIME_KINDS + INIT_KINDS}
NUMBERS: dict[str, int] = {kind.name: number for number, kind in enumerate(INIT_KINDS)}
