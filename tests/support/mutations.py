"""Configurations that are wrong in some way: mutations of rich valid ones, for the tests of bad input.

Every choice comes from one `random.Random`, so that hypothesis can drive and shrink it, and a seed repeats it.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from pyrunc._generated import schemas
from pyrunc.libcontainer.spec.example import example
from tests.support.bundle import BASE
from tests.support.full_config import full_config, runnable_config

Config = Any
Place = tuple[str | int, ...]

# Replacements in the JSON text: Python's encoder could not write the results.
_DEEP = {f"@@deep{depth}@@": "[" * depth + "1" + "]" * depth for depth in (50, 240, 700, 3000, 100000)}
_DEEP |= {f"@@objects{depth}@@": '{"a":' * depth + "null" + "}" * depth for depth in (50, 240, 700, 3000)}
_RAW = {**_DEEP, "@@digits@@": "9" * 5000, "@@inf@@": "1e400", "@@nan@@": "NaN", "@@minus@@": "-0"}

NUMBERS: tuple[int | float, ...] = (
    -(2**70), -(2**63) - 1, -(2**63), -(2**31) - 1, -1000, -2, -1, 0, 1, 2, 7, 8, 64, 511, 512, 1000, 4095, 4096, 65535,
    65536, 999999999, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**40, 0.5,
    -0.0, 1.0, 1e300,
)  # fmt: skip
WORDS = (
    "", "/", "//", ".", "..", "/..", "../..", "a", "a\n", "\n", "\0", "/\0", "a\0b", "\ud800", "/\udfff", "é" * 40,
    "\u2028", "\x7f\x1b[31m", " ", "%s", "%d%d", "A=b", "=b", "A", "MB:", "0-3,7", "9-1", "99999", "0-99999999999",
    "2MB", "1.0.0", "2.0.0", "1.0", "x" * 300, "y" * 5000, "/z" * 3000, "/" + "long" * 40000, "rootfs", "/proc",
    "/proc/self", "/proc/self/ns/uts", "/proc/self/ns/net", "/proc/1/ns/user", "/dev/null", "/etc/passwd",
    "/does/not/exist", "-1", "netwrok", "SCMP_ACT_KILL", "bind", "rbind", "ro", "remount", "tmpcopyup", "idmap",
    "size=1", "mode=9", "context=x", "net.ipv4.ip_forward", "kernel.msgmax", "net/../../x", "memory.max",
    "cgroup.procs", "lo", "true", "null", "system.slice:x:y",
)  # fmt: skip


def bases() -> dict[str, Config]:
    """The valid configurations to mutate, by name; fresh copies. RUNNABLE names those that run."""
    plain = copy.deepcopy(BASE)
    plain["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=1m"]})
    plain["mounts"].append({"destination": "/data", "type": "none", "source": "data", "options": ["rbind", "ro"]})
    plain["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]
    plain["process"]["oomScoreAdj"] = 100
    plain["linux"]["sysctl"] = {"kernel.msgmax": "65536"}
    plain["linux"]["maskedPaths"] = ["/proc/kcore"]
    plain["linux"]["readonlyPaths"] = ["/proc/sys"]
    plain["linux"]["devices"] = [
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0},
        {"type": "p", "path": "/dev/pipe"},
    ]
    plain["linux"]["personality"] = {"domain": "LINUX"}
    plain["hostname"] = "host"
    plain["hooks"] = {name: [{"path": "/bin/true", "timeout": 5}] for name in ("createRuntime", "poststop")}
    plain["annotations"] = {"org.example.key": "value"}
    owned = copy.deepcopy(BASE)
    mapping = [{"containerID": 0, "hostID": 100000, "size": 1000}, {"containerID": 1000, "hostID": 200000, "size": 10}]
    owned["linux"]["namespaces"] += [{"type": kind} for kind in ("user", "network", "cgroup")]
    owned["linux"]["uidMappings"] = mapping
    owned["linux"]["gidMappings"] = copy.deepcopy(mapping)
    owned["linux"]["cgroupsPath"] = "/group/container"
    owned["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    owned["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    owned["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "ro"]})
    owned["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]})
    owned["process"]["user"] = {"uid": 5, "gid": 5, "umask": 18, "additionalGids": [6]}
    owned["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    owned["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 4}
    owned["root"]["readonly"] = True
    filtered = example()
    filtered["process"]["terminal"] = False
    filtered["process"]["args"] = ["true"]
    filtered["linux"]["seccomp"] = full_config()["linux"]["seccomp"]
    filtered["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_ALLOW"
    del filtered["linux"]["seccomp"]["defaultErrnoRet"]
    filtered["linux"]["timeOffsets"] = {"monotonic": {"secs": 5}}
    filtered["linux"]["namespaces"].append({"type": "time"})
    filtered["linux"]["rootfsPropagation"] = "rslave"
    tiny = {
        "ociVersion": "1.3.0",
        "process": {"cwd": "/", "args": ["/bin/true"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
    }
    return {
        "plain": plain, "owned": owned, "filtered": filtered, "tiny": tiny, "full": full_config(),
        "runnable": runnable_config(),
    }  # fmt: skip


RUNNABLE = ("plain", "owned", "filtered", "tiny")


def mutated(random: Random, names: tuple[str, ...] = ("plain", "owned", "filtered", "tiny", "full", "runnable")) -> Any:
    """A configuration with one to four mutations, as a value whose `text` is the content of the file."""
    config: Any = bases()[random.choice(names)]
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        config = _mutation(random, config)
    return config


def text_of(random: Random, config: Any) -> bytes:
    """The file's content: the configuration as JSON, and sometimes text that is not JSON."""
    ascii_only = random.random() < 0.7
    text = json.dumps(config, ensure_ascii=ascii_only)
    for word, raw in _RAW.items():
        text = text.replace(f'"{word}"', raw)
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.04:
        at = random.randrange(len(data))
        data = random.choice((data[:at], data[:at] + b"\xff" + data[at:], data[:at] + b"}" + data[at:], data + b"x"))
    if random.random() < 0.03:
        data = data.replace(b"{", b'{"ociVersion":7,"root":{},"type":"x",', 1)
    return data


def plain_text(config: Any) -> bytes:
    """The file's content as a well-behaved program writes it."""
    return json.dumps(config).encode()


def has_terminal(config: Any) -> bool:
    """Whether the process is to get a terminal, for which `create` needs a console socket."""
    process = config.get("process") if isinstance(config, dict) else None
    return isinstance(process, dict) and process.get("terminal") is True


def harmless(config: Any, bundle: Path) -> Any:
    """The configuration without the parts that would change the sandbox itself (tests/support/sandbox.py): a joined
    mount namespace, in which pivot_root would move every process, and a copy of the host's files to memory."""
    if not isinstance(config, dict):
        return config
    linux = config.get("linux")
    entries = linux.get("namespaces") if isinstance(linux, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("path"), str) and _is_mount_namespace(entry["path"]):
            del entry["path"]
    mounts = config.get("mounts")
    for mount in mounts if isinstance(mounts, list) else ():
        if isinstance(mount, dict) and isinstance(mount.get("options"), list) and _reaches_out(config, bundle):
            mount["options"] = [word for word in mount["options"] if word != "tmpcopyup"]
    return config


def _is_mount_namespace(path: str) -> bool:
    try:
        return os.readlink(path).startswith("mnt:")
    except (OSError, ValueError):
        return False


def _reaches_out(config: Config, bundle: Path) -> bool:
    """Whether a root or a bind mount's source is a directory outside of the bundle."""
    root = config.get("root")
    paths = [root.get("path") if isinstance(root, dict) else None]
    paths += [mount.get("source") for mount in config["mounts"] if isinstance(mount, dict)]
    for path in paths:
        try:
            if isinstance(path, str) and not (bundle / path).resolve().is_relative_to(bundle):
                return True
        except (OSError, ValueError, RuntimeError):
            continue
    return False


def places(value: Any, at: Place = ()) -> list[Place]:
    """The path of every value inside a value, without the value itself."""
    found: list[Place] = []
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        found += [(*at, key), *places(member, (*at, key))]
    return found


def value_at(value: Any, place: Place) -> Any:
    """The value at a path."""
    for key in place:
        value = value[key]
    return value


def schema_at(place: Place) -> dict[str, Any] | None:
    """The schema of the value at a path of a configuration; None if the specification defines none."""
    schema: dict[str, Any] | None = schemas.CONFIG
    for key in place:
        schema = resolved(schema or {})
        if isinstance(key, int):
            schema = schema.get("items")
        else:
            schema = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
        if schema is None:
            return None
    return resolved(schema or {})


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names."""
    while "$ref" in schema:
        schema = schemas.CONFIG["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def from_schema(random: Random, schema: dict[str, Any], depth: int = 0) -> Any:
    """A value that the schema accepts, mostly: at its limits, and sometimes one step beyond them."""
    schema = resolved(schema)
    kind = schema.get("type", "object")
    if random.random() < 0.03:
        return junk(random)
    if kind == "object":
        members = schema.get("properties", {})
        needed = set(schema.get("required", ()))
        names = [name for name in members if name in needed or random.random() < 0.5]
        found = {name: from_schema(random, members[name], depth + 1) for name in names}
        if "additionalProperties" in schema and depth < 6:
            for _ in range(random.randrange(3)):
                name = from_schema(random, schema["propertyNames"], depth + 1)
                found[name if isinstance(name, str) else "x"] = from_schema(
                    random, schema["additionalProperties"], depth + 1
                )
        return found
    if kind == "array":
        return [from_schema(random, schema["items"], depth + 1) for _ in range(random.randrange(3))]
    if kind == "boolean":
        return random.random() < 0.5
    if kind == "integer":
        low, high = schema.get("minimum", -(2**63)), schema.get("maximum", 2**63)
        return random.choice((low, high, low + 1, high - 1, low - 1, high + 1, max(low, 0), max(low, 1)))
    if "enum" in schema:
        return random.choice(schema["enum"])
    return random.choice(_TEXTS.get(schema.get("description", ""), WORDS))


_TEXTS: dict[str, tuple[str, ...]] = {
    "an absolute path without NUL characters": ("/", "/bin", "/bin/true", "/a b", "/..", "//x/", "/x\n"),
    "an absolute path without NUL characters, or the empty string for none": ("", "/proc/self/ns/uts", "/nowhere"),
    "NAME=VALUE without NUL characters": ("A=", "HOME=", "PATH=/bin:relative:", "A=\n", "é=é", "A==b"),
    "a list such as 0-3,7": ("", "0", "0-0", "0-70000", "3-1", "0,0,0", "9" * 30),
    "CONTROLLER.PARAMETER, the name of a cgroup's control file, without slashes and NUL characters": (
        "memory.max", "cgroup.procs", "cgroup.freeze", "x.y", "cgroup.x", "memory..", "pids.max\n",
    ),
    "one or more of the letters r, w and m": ("r", "rwm", "rrr"),
    "a size such as 64KB, 2MB or 1GB": ("2MB", "1GB", "3KB"),
    "a version by SemVer 2.0.0, such as 1.3.0": ("1.0.0", "1.99.0", "2.0.0", "1." + "9" * 50 + ".0", "0.1.0-a+b"),
    "one word without NUL characters": ("mlx5_1", "é", "x" * 300),
    "one line that begins with MB:": ("", "MB:", "MB:0=20"),
}  # fmt: skip


def junk(random: Random) -> Any:
    """Any JSON value, likely or not."""
    kind = random.randrange(9)
    if kind == 0:
        return random.choice(NUMBERS)
    if kind == 1:
        return random.choice((None, True, False))
    if kind == 2:
        return random.choice(([], {}, [[]], [{}], {"": {}}, [None], {"a": None}, {"~/": 1}))
    if kind == 3:
        return random.choice(tuple(_RAW))
    if kind == 4:
        return {random.choice(WORDS): random.choice(WORDS)}
    if kind == 5:
        return [random.choice(NUMBERS), random.choice(WORDS)]
    return random.choice(WORDS)


def _put(config: Any, place: Place, value: Any) -> Any:
    if not place:
        return value
    holder = value_at(config, place[:-1])
    holder[place[-1]] = value
    return config


def fresh(value: Any) -> Any:
    """A copy whose parts are not shared, so that a change in one place does not show up in another."""
    if isinstance(value, dict):
        return {name: fresh(member) for name, member in value.items()}
    return [fresh(item) for item in value] if isinstance(value, list) else value


def _mutation(random: Random, config: Any) -> Any:
    config = fresh(config)
    found = places(config)
    if not found:
        return junk(random)
    return random.choice(_MUTATIONS)(random, config, found)


def _drop(random: Random, config: Any, found: list[Place]) -> Any:
    place = random.choice(found)
    del value_at(config, place[:-1])[place[-1]]
    return config


def _replace(random: Random, config: Any, found: list[Place]) -> Any:
    return _put(config, random.choice(found), junk(random))


def _whole(random: Random, config: Any, found: list[Place]) -> Any:
    """Replace a value by any JSON value, and sometimes the whole document."""
    return junk(random) if random.random() < 0.1 else _replace(random, config, found)


def _retype(random: Random, config: Any, found: list[Place]) -> Any:
    """The same value in another type: an error that generators of configurations make."""
    place = random.choice(found)
    value = value_at(config, place)
    forms: tuple[Any, ...] = ([value], {"value": value}, json.dumps(value, default=str), None)
    if isinstance(value, str):
        forms = (*forms, list(value), value.encode("utf-8", "replace").hex())
    if isinstance(value, int):
        forms = (*forms, float(min(value, 2**60)), str(value), bool(value), -value)
    if isinstance(value, list):
        forms = (*forms, {str(index): item for index, item in enumerate(value)}, value[0] if value else "")
    if isinstance(value, dict):
        forms = (*forms, list(value.values()), [[name, member] for name, member in value.items()])
    return _put(config, place, random.choice(forms))


def _number(random: Random, config: Any, found: list[Place]) -> Any:
    numbers = [place for place in found if type(value_at(config, place)) is int]
    return _put(config, random.choice(numbers or found), random.choice(NUMBERS))


def _word(random: Random, config: Any, found: list[Place]) -> Any:
    texts = [place for place in found if type(value_at(config, place)) is str]
    place = random.choice(texts or found)
    word = value_at(config, place)
    if isinstance(word, str) and word and random.random() < 0.5:
        at = random.randrange(len(word))
        less, more = word[:at] + word[at + 1 :], word[:at] + "X" + word[at:]
        edits = (less, more, word.upper(), word + "\0", word + "\n", word * 40)
        return _put(config, place, random.choice(edits))
    return _put(config, place, random.choice(WORDS))


def _rename(random: Random, config: Any, found: list[Place]) -> Any:
    """Rename a member."""
    named = [place for place in found if isinstance(place[-1], str)]
    if not named:
        return junk(random)
    place = random.choice(named)
    holder = value_at(config, place[:-1])
    holder[random.choice((*WORDS, str(place[-1])[:-1], str(place[-1]).upper()))] = holder.pop(place[-1])
    return config


def _repeat(random: Random, config: Any, found: list[Place]) -> Any:
    """Repeat an entry of an array, up to a thousand times."""
    entries = [place for place in found if isinstance(place[-1], int)]
    if not entries:
        return _replace(random, config, found)
    place = random.choice(entries)
    holder = value_at(config, place[:-1])
    holder.extend([copy.deepcopy(holder[place[-1]]) for _ in range(random.choice((1, 1, 1, 70, 1000)))])
    return config


def _swap(random: Random, config: Any, found: list[Place]) -> Any:
    """Exchange two values."""
    one, other = random.choice(found), random.choice(found)
    if one == other[: len(one)] or other == one[: len(other)]:
        return _replace(random, config, found)
    first, second = value_at(config, one), value_at(config, other)
    return _put(_put(config, one, second), other, first)


def _graft(random: Random, config: Any, found: list[Place]) -> Any:
    """Replace a value by a copy of another one, which may contain the first."""
    value = fresh(value_at(config, random.choice(found)))
    return _put(config, random.choice(found), value)


def _schema(random: Random, config: Any, found: list[Place]) -> Any:
    """Set a field, which may be new, to another value by its schema."""
    place = random.choice([(), *found])
    schema = schema_at(place)
    value = value_at(config, place)
    if schema is None or not isinstance(value, dict) or not schema.get("properties"):
        if not place or schema is None:
            return _replace(random, config, found)
        return _put(config, place, from_schema(random, schema))
    name = random.choice(list(schema["properties"]))
    value[name] = from_schema(random, schema["properties"][name])
    return config


def _linux(random: Random, config: Any, found: list[Place]) -> Any:
    """Set fields that few configurations have."""
    if not isinstance(config, dict):
        return config
    parent = random.choice(("linux", "linux", "process"))
    holder = config.setdefault(parent, {})
    if not isinstance(holder, dict):
        return _replace(random, config, found)
    members = schemas.CONFIG["$defs"][parent]["properties"]
    name = random.choice(list(members))
    holder[name] = from_schema(random, members[name])
    return config


def _contradict(random: Random, config: Any, found: list[Place]) -> Any:
    """Set two fields that exclude each other."""
    pair = copy.deepcopy(random.choice(CONTRADICTIONS))
    if not isinstance(config, dict):
        return pair
    for parent, members in pair.items():
        if isinstance(members, dict) and isinstance(config.get(parent), dict):
            config[parent].update(members)
        else:
            config[parent] = members
    return config


_TIME = {"namespaces": [{"type": "mount"}, {"type": "time", "path": "/proc/self/ns/time"}]}
_RUNTIME_MAPS = [{"containerID": 0, "hostID": 0, "size": 10}]

CONTRADICTIONS: tuple[Config, ...] = (
    {"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}},
    {"linux": {"namespaces": []}},
    {"linux": {"namespaces": [{"type": "mount"}]}, "hostname": "x", "domainname": "y"},
    {"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}], "uidMappings": [], "gidMappings": []}},
    {"linux": {"namespaces": [{"type": "mount"}], "uidMappings": _RUNTIME_MAPS}},
    {"linux": {"namespaces": [{"type": "mount"}, {"type": "user", "path": "/proc/self/ns/user"}]}},
    {"linux": {"namespaces": [{"type": "mount"}, {"type": "pid", "path": "/proc/self/ns/uts"}]}},
    {"linux": {**_TIME, "timeOffsets": {"monotonic": {"secs": 1}}}},
    {"linux": {"namespaces": [{"type": "mount"}, {"type": "time"}], "timeOffsets": {"boottime": {"secs": -(2**62)}}}},
    {"process": {"terminal": True}},
    {"process": {"consoleSize": {"height": 2**40, "width": 0}, "terminal": True}},
    {"process": {"scheduler": {"policy": "SCHED_FIFO"}}},
    {"process": {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 1}}},
    {"process": {"scheduler": {"policy": "SCHED_ISO", "nice": 19, "flags": ["SCHED_FLAG_UTIL_CLAMP_MAX"]}}},
    {"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}},
    {"process": {"capabilities": {"ambient": ["CAP_SYS_ADMIN"], "effective": ["CAP_CHOWN"], "permitted": []}}},
    {"process": {"apparmorProfile": "x", "selinuxLabel": "y"}},
    {"process": {"user": {"uid": 4000000000, "gid": 4000000000, "additionalGids": [1] * 70000}}},
    {"linux": {"resources": {"memory": {"limit": 10, "swap": 5}}}},
    {"linux": {"resources": {"cpu": {"idle": 1, "shares": 5, "quota": 1000, "burst": 2000}}}},
    {"linux": {"resources": {"unified": {"cgroup.freeze": "1", "memory.max": "x\n\ny"}}}},
    {"linux": {"resources": {"devices": [{"allow": True, "type": "a", "major": 1, "access": "m"}] * 300}}},
    {"linux": {"resources": {"devices": [{"allow": False}, {"allow": True, "type": "c", "major": -1, "minor": 5}]}}},
    {"linux": {"memoryPolicy": {"mode": "MPOL_DEFAULT", "nodes": "0"}}},
    {"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "1000", "flags": ["MPOL_F_RELATIVE_NODES"]}}},
    {"linux": {"netDevices": {"nowhere0": {"name": "lo"}}}},
    {"linux": {"intelRdt": {"closID": "../x", "schemata": ["L3:0=f"]}}},
    {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/nowhere"}}},
    {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_SHEB", "SCMP_ARCH_X32"]}}},
    {"linux": {"cgroupsPath": "/"}},
    {"linux": {"cgroupsPath": "../../../.."}},
    {"linux": {"cgroupsPath": "a/" * 300}},
    {"linux": {"rootfsPropagation": "shared"}, "root": {"path": "/"}},
    {"linux": {"maskedPaths": ["/"], "readonlyPaths": ["/"]}},
    {"mounts": [{"destination": "/", "type": "tmpfs"}]},
    {"mounts": [{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind", "rro"]}]},
    {"mounts": [{"destination": "/m", "type": "tmpfs", "options": ["ro"]}] * 70},
    {"mounts": [{"destination": "/m", "type": "tmpfs", "options": ["idmap", "remount"]}]},
    {"mounts": [{"destination": "/m", "source": "data", "options": ["bind", "size=5"]}]},
    {"mounts": [{"destination": "/m", "type": "nofs", "source": "x"}]},
    {"mounts": [{"destination": "/etc/passwd/x", "type": "tmpfs"}]},
    {"mounts": [{"destination": "/d", "source": "data", "options": ["bind", "ridmap"], "uidMappings": _RUNTIME_MAPS,
                 "gidMappings": _RUNTIME_MAPS}]},
    {"root": {"path": "nowhere", "readonly": True}},
    {"root": {"path": "config.json"}},
    {"hooks": {"createRuntime": [{"path": "/nowhere"}], "createContainer": [{"path": "/nowhere"}]}},
    {"hooks": {"prestart": [{"path": "/bin/false", "args": []}]}},
)  # fmt: skip

_MUTATIONS: tuple[Callable[[Random, Any, list[Place]], Any], ...] = (
    _drop, _replace, _whole, _retype, _number, _number, _word, _word, _rename, _repeat, _swap, _graft, _schema, _schema,
    _schema, _linux, _linux, _contradict, _contradict,
)  # fmt: skip
