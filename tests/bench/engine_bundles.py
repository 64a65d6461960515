"""The bundles of the bench that look as engines write them: a container of a Kubernetes pod by containerd's CRI plugin,
and a container of Docker, both of nginx. Their program is busybox, and resources are left out: they need controllers,
which most machines that measure lack.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.bench.bundles import BUSYBOX, CAPABILITIES, Bundles

# What a container may not call by default: administration of the machine, the kernel's modules and its debugging.
_REFUSED = frozenset(
    "acct add_key bpf clone3 clock_adjtime clock_settime create_module delete_module finit_module fsconfig fsmount "
    "fsopen fspick get_kernel_syms init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp "
    "kexec_file_load kexec_load keyctl lookup_dcookie mount mount_setattr move_mount move_pages nfsservctl "
    "open_by_handle_at open_tree perf_event_open pivot_root process_vm_readv process_vm_writev ptrace query_module "
    "quotactl quotactl_fd reboot request_key setdomainname sethostname setns settimeofday stime swapoff swapon sysfs "
    "_sysctl umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old".split()
)
_LAST_SYSCALL = 470
_ARCHITECTURES = {"x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
_MASKED = (
    "asound", "acpi", "interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug",
    "scsi",
)  # fmt: skip
_READONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_NETWORK_FILES = ("hosts", "hostname", "resolv.conf")
# Namespaces that the containers of a pod share, and the files that hold them.
_SHARED = {"network": "net", "ipc": "ipc", "uts": "uts"}


def kubernetes(work: Path, cgroup: str) -> Bundles:
    """A container of a pod, whose namespaces exist. cgroup: the pod's, "/…". Raises OSError and
    subprocess.CalledProcessError."""
    path = work / "kubernetes"
    pod = path / "pod"
    pod.mkdir(parents=True)
    spec = _spec(path)
    held = {type: pod / name for type, name in _SHARED.items()}
    for file in held.values():
        file.touch()
    subprocess.run(["unshare", *(f"--{file.name}={file}" for file in held.values()), "true"], check=True)
    spec["linux"]["namespaces"] = [{"type": name} for name in ("pid", "mount", "cgroup")]
    spec["linux"]["namespaces"] += [{"type": type, "path": str(file)} for type, file in held.items()]
    spec["linux"]["cgroupsPath"] = f"{cgroup}/nginx"
    cpus = [f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in range(os.cpu_count() or 1)]
    spec["linux"]["maskedPaths"] += ["/sys/devices/virtual/powercap", *cpus]
    volumes = [
        ("/etc/hosts", False, "rw"), ("/dev/termination-log", False, "rw"), ("/etc/hostname", False, "rw"),
        ("/etc/resolv.conf", False, "rw"), ("/dev/shm", True, "rw"), ("/etc/nginx/conf.d", True, "ro"),
        ("/var/cache/nginx", True, "rw"), ("/var/log/nginx", True, "rw"), ("/usr/share/nginx/html", True, "ro"),
        ("/etc/ssl/certs", True, "ro"), ("/var/run/secrets/kubernetes.io/serviceaccount", True, "ro"),
        ("/tmp", True, "rw"), ("/run", True, "rw"),
    ]  # fmt: skip
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["destination"] != "/dev/shm"]
    spec["mounts"] += [_volume(path, *volume) for volume in volumes]
    annotations = {"container-name": "nginx", "container-type": "container", "image-name": "nginx:1.27"}
    spec["annotations"] = {f"io.kubernetes.cri.{name}": value for name, value in annotations.items()}
    spec["annotations"]["io.kubernetes.cri.sandbox-id"] = "0123456789abcdef" * 4
    return _both(path, spec)


def docker(work: Path, cgroup: str) -> Bundles:
    """A container of Docker. cgroup: the parent of the container's, "/…". Raises OSError."""
    path = work / "docker"
    path.mkdir()
    spec = _spec(path)
    spec["hostname"] = "0123456789ab"
    spec["linux"]["namespaces"] = [{"type": name} for name in ("mount", "network", "uts", "pid", "ipc", "cgroup")]
    spec["linux"]["cgroupsPath"] = f"{cgroup}/docker"
    spec["mounts"] += [_volume(path, f"/etc/{name}", False, "rw") for name in _NETWORK_FILES]
    return _both(path, spec)


def _spec(path: Path) -> dict[str, Any]:
    """What both have in common."""
    capabilities = [f"CAP_{name}" for name in CAPABILITIES]
    system = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0, 10]},
            "args": [],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=nginx",
                "NGINX_VERSION=1.27.0", "PKG_RELEASE=1", "KUBERNETES_SERVICE_HOST=10.96.0.1",
                "KUBERNETES_SERVICE_PORT=443",
            ],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "oomScoreAdj": 0,
        },
        "root": {"path": str(path / "rootfs")},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": system},
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": system},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*system, "ro"]},
            {
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": [*system, "relatime", "ro"],
            },
            {
                "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": [*system, "mode=1777", "size=65536k"],
            },
        ],
        "linux": {
            "maskedPaths": [*(f"/proc/{name}" for name in _MASKED), "/sys/firmware"],
            "readonlyPaths": [f"/proc/{name}" for name in _READONLY],
            "seccomp": _profile(),
        },
    }  # fmt: skip


def _profile() -> dict[str, Any]:
    """A profile of the size of an engine's default one: about 380 calls, some with conditions."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p
    names = [library.seccomp_syscall_resolve_num_arch(0, number) for number in range(_LAST_SYSCALL)]
    conditional = {"clone", "personality", "socket"}
    allowed = sorted({name.decode() for name in names if name} - _REFUSED - conditional)
    clone = {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": _ARCHITECTURES.get(os.uname().machine, []),
        "syscalls": [
            {"names": allowed, "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [clone]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {
                "names": ["socket"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}],
            },
            *(
                {
                    "names": ["personality"], "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
                }
                for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
            ),
        ],
    }  # fmt: skip


def _volume(path: Path, destination: str, is_directory: bool, mode: str) -> dict[str, Any]:
    source = path / "volumes" / destination.strip("/").replace("/", "-")
    if is_directory:
        source.mkdir(parents=True)
    else:
        source.parent.mkdir(parents=True, exist_ok=True)
        source.touch()
    options = ["rbind", "rprivate", mode]
    return {"destination": destination, "type": "bind", "source": str(source), "options": options}


def _both(path: Path, spec: dict[str, Any]) -> Bundles:
    rootfs = path / "rootfs"
    for name in ("bin", "proc", "dev", "sys", "tmp", "run"):
        (rootfs / name).mkdir(parents=True)
    for mount in spec["mounts"]:
        if mount["type"] != "bind" or mount["destination"].startswith("/dev/"):
            continue
        target = rootfs / mount["destination"].lstrip("/")
        if Path(mount["source"]).is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    shutil.copy(BUSYBOX, rootfs / "bin/busybox")
    for name, words in {"short": ["/bin/true"], "long": ["/bin/sleep", "1000"]}.items():
        (rootfs / words[0].lstrip("/")).symlink_to("busybox")
        (path / name).mkdir()
        spec["process"]["args"] = words
        (path / name / "config.json").write_text(json.dumps(spec))
    return Bundles(path / "short", path / "long")
