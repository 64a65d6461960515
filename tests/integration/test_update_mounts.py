"""`update --mount`, `--umount`, `--device` and `--device-rm` on running containers: what the container sees, what is
recorded, what is refused, and that a failure changes nothing."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.race import exchanging
from tests.support.rootless import RootlessRuntime
from tests.support.runtime import Container, Result, Runtime

# A device of the host that no container has.
DEVICE, MAJOR, MINOR = "/dev/loop-control", 10, 237


@pytest.fixture
def source(runtime: Runtime) -> Path:
    """A directory of the host, with a file in it."""
    path = runtime.work / "source"
    path.mkdir()
    (path / "file").write_text("from the host\n")
    return path


@pytest.fixture
def device() -> str:
    if not os.path.exists(DEVICE) or os.stat(DEVICE).st_rdev != os.makedev(MAJOR, MINOR):
        pytest.skip(f"this host has no {DEVICE}")
    return DEVICE


def update(container: Container, *words: str | Path) -> Result:
    return container.runtime("update", *words, container.id)


def succeed(container: Container, *words: str | Path) -> None:
    result = update(container, *words)
    assert (result.code, result.out, result.err) == (0, "", ""), result


def inside(container: Container, script: str) -> str:
    result = container.runtime("exec", "--ignore-paused", container.id, "sh", "-c", script)
    assert result.code == 0, result
    return result.out


def mounts(container: Container) -> list[tuple[str, str, str]]:
    """(place, options, propagation) of the container's mounts, in their order."""
    found = []
    for line in Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines():
        before, _, _ = line.partition(" - ")
        words = before.split(" ")
        found.append((words[4], words[5], " ".join(words[6:])))
    return found


def tree(bundle: Bundle) -> list[str]:
    """Everything in the rootfs, as it is on the host."""
    return sorted(str(path.relative_to(bundle.rootfs)) for path in bundle.rootfs.rglob("*"))


def saved(container: Container) -> Any:
    return json.loads((container.runtime.root / container.id / "exec.json").read_text())


def files(container: Container) -> list[str]:
    return sorted(os.listdir(container.runtime.root / container.id))


def snapshot(container: Container, bundle: Bundle) -> tuple[Any, ...]:
    """The state that a failed update must leave as it was."""
    nodes = inside(container, "ls -ln /dev | sed 's/  */ /g' | cut -d' ' -f 1,3-6")
    return mounts(container), tree(bundle), nodes, saved(container), container.state(), files(container)


@contextmanager
def tmpfs(path: Path, *, shared: bool = False) -> Iterator[None]:
    """A tmpfs of the host on a directory while the block runs."""
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    try:
        subprocess.run(["mount", "--make-shared" if shared else "--make-private", path], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


# ---- the requested changes are made --------------------------------------------------------------------------


def test_a_bind_mount_of_the_host_in_a_running_container(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    before = len(mounts(container))
    succeed(container, "--mount", f"type=bind,source={source},target=/mnt/new/place")
    assert inside(container, "cat /mnt/new/place/file; echo changed >/mnt/new/place/file") == "from the host\n"
    assert (source / "file").read_text() == "changed\n"
    [*_, (place, options, propagation)] = mounts(container)
    assert (len(mounts(container)), place, "rw" in options.split(","), propagation) == (
        before + 1, "/mnt/new/place", True, "",
    )  # fmt: skip
    assert stat.S_IMODE((bundle.rootfs / "mnt/new").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("ro,nosuid,noexec,nodev", {"ro", "nosuid", "noexec", "nodev"}),
        ("readonly", {"ro"}),
        ("readonly=true,noatime", {"ro", "noatime"}),
        ("ro=false", {"rw"}),
        ("rro", {"ro"}),
        ("bind,ro", {"ro"}),
        ("nosymfollow", {"nosymfollow"}),
    ],
)
def test_the_options_of_config_json(
    words: str, options: set[str], runtime: Runtime, bundle: Bundle, source: Path
) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    succeed(container, "--mount", f"type=bind,src={source},dst=/mnt/x,{words}")
    [*_, (place, found, _)] = mounts(container)
    assert place == "/mnt/x"
    assert options <= set(found.split(",")), found


def test_what_is_mounted_below_the_source_comes_with_it_and_rro_is_of_all(
    runtime: Runtime, bundle: Bundle, source: Path
) -> None:
    (source / "below").mkdir()
    with tmpfs(source / "below"):
        container = runtime.started(bundle.sh("sleep 99"))
        succeed(container, "--mount", f"type=bind,source={source},target=/a,rro", "--mount",
                f"type=bind,source={source},target=/b,bind")  # fmt: skip
        places = {place: set(options.split(",")) for place, options, _ in mounts(container)}
        assert "ro" in places["/a"]
        assert "ro" in places["/a/below"]
        assert "/b/below" not in places


@pytest.mark.parametrize(("word", "tag"), [("rprivate", ""), ("rslave", "master:"), ("rshared", "shared:")])
def test_propagation(word: str, tag: str, runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """With any propagation, what the container mounts in there never reaches the host."""
    bundle.process["capabilities"]["bounding"] = [*bundle.process["capabilities"]["bounding"], "CAP_SYS_ADMIN"]
    for name in ("effective", "permitted"):
        bundle.process["capabilities"][name] = bundle.process["capabilities"]["bounding"]
    with tmpfs(source, shared=True):
        (source / "below").mkdir()
        container = runtime.started(bundle.sh("sleep 99"))
        succeed(container, "--mount", f"type=bind,source={source},target=/mnt/x,bind-propagation={word}")
        [*_, (_, _, propagation)] = mounts(container)
        assert tag in propagation
        inside(container, "mount -t tmpfs none /mnt/x/below")
        assert not any(str(source / "below") in line for line in host.mounts_of(runtime.token))
        container.kill()


def test_a_file_and_a_relative_source(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    result = runtime("update", "--mount", "type=bind,source=file,target=/etc/new,ro", container.id, cwd=source)
    assert result.code == 0, result
    assert inside(container, "cat /etc/new") == "from the host\n"
    assert saved(container)["mounts"][-1]["source"] == str(source / "file")


def test_a_tmpfs(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    succeed(container, "--mount", "type=tmpfs,target=/cache,tmpfs-size=64k,tmpfs-mode=700,noexec")
    assert inside(container, "stat -c %a /cache; dd if=/dev/zero of=/cache/x bs=1k count=100 2>&1 | grep -c space; "
                  "ls -l /cache/x | sed 's/  */ /g' | cut -d' ' -f 5") == "700\n1\n65536\n"  # fmt: skip
    assert "noexec" in mounts(container)[-1][1]
    succeed(container, "--mount", "type=tmpfs,target=/sealed,ro")
    assert "ro" in mounts(container)[-1][1].split(",")


def test_an_idmapped_mount(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    os.chown(source / "file", 5, 5)
    result = update(
        container, "--mount", f"type=bind,source={source},target=/mnt/x,idmap=uids=0-70000-10;gids=0-70000-10"
    )
    if "invalid argument" in result.err:
        pytest.skip("the file system has no id-mapped mounts")
    assert result.code == 0, result
    assert inside(container, "stat -c %u:%g /mnt/x/file") == "70005:70005\n"


def test_in_a_user_namespace(runtime: Runtime, bundle: Bundle, source: Path, device: str) -> None:
    container = runtime.started(bundle.user_namespace().sh("sleep 99"))
    os.chmod(runtime.work, 0o711)
    succeed(container, "--mount", f"type=bind,source={source},target=/mnt/x,ro", "--mount", "type=tmpfs,target=/t")
    assert inside(container, "cat /mnt/x/file") == "from the host\n"
    assert (bundle.rootfs / "mnt/x").stat().st_uid == 100000
    assert inside(container, "stat -c %u:%g /t") == "0:0\n"
    succeed(container, "--mount", f"type=bind,source={source},target=/mnt/m,idmap")
    assert inside(container, "stat -c %u /mnt/m/file") == "0\n"
    succeed(container, "--device", device)
    assert inside(container, f"stat -c %F:%t:%T {device}") == "character special file:a:ed\n"
    succeed(container, "--device-rm", device, "--umount", "/mnt/x", "--umount", "/t", "--umount", "/mnt/m")
    assert inside(container, f"ls {device} 2>/dev/null | wc -l; ls /mnt/x | wc -l") == "0\n0\n"
    assert {"/mnt/x", "/t", "/mnt/m", device}.isdisjoint(place for place, _, _ in mounts(container))


def test_by_root_of_a_user_namespace(runtime: Runtime, bundle: Bundle, source: Path, device: str) -> None:
    """As rootless Podman runs a runtime: the device is bound, and no device rules are needed."""
    bundle.mounts[2]["options"].remove("gid=5")
    bundle.sh("sleep 99").write()
    id = runtime.new_id()
    create = runtime.argv("--cgroup-manager", "disabled", "create", "--bundle", bundle.path, id)
    change = runtime.argv("update", "--mount", f"type=bind,source={source},target=/mnt/x,ro", "--device", device, id)
    look = runtime.argv(
        "exec", id, "sh", "-c", f"cat /mnt/x/file; stat -c %F {device}; grep -c /mnt/x.*ro, /proc/mounts"
    )
    undo = runtime.argv("update", "--umount", "/mnt/x", "--device-rm", device, id)
    again = runtime.argv("exec", id, "sh", "-c", f"ls /mnt/x {device} 2>/dev/null; grep -c /mnt/x /proc/mounts")
    lines = [create, runtime.argv("start", id), change, look, undo, again, runtime.argv("delete", "--force", id)]
    script = "\n".join([shlex.join(line) + " </dev/null || echo failed" for line in lines])
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        env=runtime.environment(), cwd=runtime.work, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "from the host\ncharacter special file\n1\n/mnt/x:\n0\nfailed\n", done


def test_a_created_and_a_paused_container(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    container = runtime.container(bundle.sh("cat /mnt/x/file; sleep 99"))
    succeed(container, "--mount", f"type=bind,source={source},target=/mnt/x")
    container.start()
    host.wait_for("its output", lambda: container.output == "from the host\n")
    assert runtime("pause", container.id).code == 0
    succeed(container, "--mount", f"type=bind,source={source},target=/mnt/y")
    assert container.status == "paused"
    assert "/mnt/y" in [place for place, _, _ in mounts(container)]
    succeed(container, "--umount", "/mnt/x")
    assert "/mnt/x" not in [place for place, _, _ in mounts(container)]
    assert runtime("resume", container.id).code == 0
    assert inside(container, "cat /mnt/y/file") == "from the host\n"


def test_mounts_are_seen_by_exec_and_state_and_gone_with_the_container(
    runtime: Runtime, bundle: Bundle, source: Path, device: str
) -> None:
    bundle.config["annotations"] = {"a": "b"}
    container = runtime.started(bundle.sh("sleep 99"))
    assert "updated" not in container.state()
    count = len(saved(container)["mounts"])
    succeed(container, "--mount", f"type=bind,source={source},target=/mnt/x,ro", "--device", device)
    entry = {
        "destination": "/mnt/x", "type": "bind", "source": str(source), "options": ["rbind", "ro", "rprivate"],
    }  # fmt: skip
    assert container.state()["updated"] == {"mounts": [entry], "devices": [device]}
    assert container.state()["annotations"] == {"a": "b"}
    kept = saved(container)
    assert (len(kept["mounts"]), kept["mounts"][-1]) == (count + 1, entry)
    assert (kept["linux"]["devices"][-1]["path"], kept["devicePaths"][-1]) == (device, device)
    succeed(container, "--umount", "/mnt/x", "--device-rm", device)
    assert "updated" not in container.state()
    assert len(saved(container)["mounts"]) == count
    assert runtime("delete", "--force", container.id).code == 0
    runtime.assert_nothing_left()


def test_several_changes_in_one_call_with_limits(runtime: Runtime, bundle: Bundle, source: Path, device: str) -> None:
    bundle.mount("/srv", "bind", str(source), "rbind")
    container = runtime.started(bundle.sh("sleep 99"))
    (source / "below").mkdir()
    result = runtime(
        "update", "--resources", "-", "--mount", f"type=bind,source={source},target=/a", "--mount",
        "type=tmpfs,target=/a/below", "--umount", "/srv", "--device", device, container.id,
        stdin=json.dumps({"unified": {"cgroup.max.depth": "7"}}),
    )  # fmt: skip
    assert (result.code, result.err) == (0, ""), result
    assert inside(container, f"cat /a/file /srv/file; ls {device}") == f"from the host\nfrom the image\n{device}\n"
    assert "/a/below" in [place for place, _, _ in mounts(container)]
    assert (Path(host.cgroups_of(runtime.token)[0]) / "cgroup.max.depth").read_text() == "7\n"
    assert files(container) == ["exec.json", "ledger", "state.json"]


# ---- unmounting ----------------------------------------------------------------------------------------------


def test_what_the_configuration_has_mounted_is_unmounted(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.mount("/srv", "bind", str(source), "rbind")
    container = runtime.started(bundle.sh("sleep 99"))
    assert inside(container, "cat /srv/file") == "from the host\n"
    succeed(container, "--umount", "/srv/")
    assert inside(container, "cat /srv/file") == "from the image\n"
    assert container.state()["updated"] == {"unmounted": ["/srv"]}
    assert "/srv" not in [entry["destination"] for entry in saved(container)["mounts"]]


def test_the_last_mount_on_a_path_is_the_first_to_go(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    for size in ("4k", "8k"):
        succeed(container, "--mount", f"type=tmpfs,target=/mnt,size={size}")
    size = "df /mnt | tail -n 1 | sed 's/  */ /g' | cut -d' ' -f 2"
    assert inside(container, size) == "8\n"
    succeed(container, "--umount", "/mnt")
    assert inside(container, size) == "4\n"
    succeed(container, "--umount", "/mnt")
    assert update(container, "--umount", "/mnt").code == 1


def test_by_the_name_that_was_given_and_by_its_real_one(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """The target was reached by a symbolic link of the image."""
    (bundle.rootfs / "link").symlink_to("/srv/../mnt")
    container = runtime.started(bundle.sh("sleep 99"))
    for name in ("/link/x", "/mnt/x"):
        succeed(container, "--mount", f"type=bind,source={source},target=/link/x")
        assert container.state()["updated"]["mounts"][0]["destination"] == "/mnt/x"
        succeed(container, "--umount", name)
    assert "/mnt/x" not in [place for place, _, _ in mounts(container)]


@pytest.mark.parametrize("busy", [0, 1])
def test_a_mount_in_use_is_busy_and_nothing_is_changed(
    busy: int, runtime: Runtime, bundle: Bundle, source: Path, device: str
) -> None:
    """The mounts that were unmounted before are there again, with their content."""
    bundle.sh("while [ ! -e /go ]; do sleep 0.01; done; cd /mnt/busy; sleep 99")
    container = runtime.started(bundle)
    succeed(container, "--mount", f"type=bind,source={source},target=/mnt/busy", "--mount",
            "type=tmpfs,target=/mnt/free", "--device", device)  # fmt: skip
    inside(container, "echo precious >/mnt/free/file; touch /go")
    host.wait_for("the process to be in it", lambda: os.readlink(f"/proc/{container.pid}/cwd") == "/mnt/busy")
    before = snapshot(container, bundle)
    order = ["/mnt/free", "/mnt/busy"][:: 1 if busy else -1]
    result = update(container, "--umount", order[0], "--umount", order[1], "--device-rm", device, "--mount",
                    f"type=bind,source={source},target=/mnt/new")  # fmt: skip
    assert (result.code, "umount /mnt/busy: device or resource busy" in result.last_line) == (1, True), result
    after = snapshot(container, bundle)
    assert sorted(after[0]) == sorted(before[0])
    assert after[1:3] == before[1:3]
    assert after[4:] == before[4:]
    assert inside(container, "cat /mnt/free/file") == "precious\n"
    succeed(container, "--umount", "/mnt/free", "--device-rm", device)


# ---- devices -------------------------------------------------------------------------------------------------


def test_a_device_can_be_used_and_then_no_more(runtime: Runtime, bundle: Bundle, device: str) -> None:
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    container = runtime.started(bundle.sh("sleep 99"))
    opened = ["exec", container.id, "sh", "-c", f"exec 3<{device}"]
    inside(container, f"mknod {device} c {MAJOR} {MINOR}")
    assert runtime(*opened).code != 0
    inside(container, f"rm {device}")
    succeed(container, "--device", device)
    assert runtime(*opened).code == 0
    assert inside(container, f"stat -c %a:%u:%g {device}") == (
        f"{os.stat(device).st_mode & 0o777:o}:{os.stat(device).st_uid}:{os.stat(device).st_gid}\n"
    )
    succeed(container, "--device-rm", device)
    result = runtime(*opened)
    assert result.code != 0
    assert inside(container, f"ls {device} 2>/dev/null | wc -l") == "0\n"
    # the device still may not be opened under another name
    inside(container, f"mknod /dev/other c {MAJOR} {MINOR}")
    assert runtime("exec", container.id, "sh", "-c", "exec 3</dev/other").code != 0


def test_another_path_and_less_access(runtime: Runtime, bundle: Bundle, device: str) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    succeed(container, "--device", f"{device}:/dev/own/loop:r")
    assert runtime("exec", container.id, "sh", "-c", "exec 3</dev/own/loop").code == 0
    assert runtime("exec", container.id, "sh", "-c", "exec 3<>/dev/own/loop").code != 0
    assert container.state()["updated"] == {"devices": ["/dev/own/loop"]}


def test_rules_do_not_grow(runtime: Runtime, bundle: Bundle, device: str) -> None:
    bundle.linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    container = runtime.started(bundle.sh("sleep 99"))
    for _ in range(3):
        succeed(container, "--device", device)
        succeed(container, "--device-rm", device)
        assert len(saved(container)["linux"]["resources"]["devices"]) == 2
        inside(container, f"mknod /dev/x c {MAJOR} {MINOR}")
        assert runtime("exec", container.id, "sh", "-c", "exec 3<>/dev/x").code != 0
        inside(container, "rm /dev/x")


def test_a_device_of_the_configuration_goes(runtime: Runtime, bundle: Bundle, device: str) -> None:
    bundle.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": MAJOR, "minor": MINOR}]
    bundle.linux["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": MAJOR, "minor": MINOR, "access": "rwm"},
        ]
    }
    container = runtime.started(bundle.sh("sleep 99"))
    assert runtime("exec", container.id, "sh", "-c", "exec 3<>/dev/mine").code == 0
    succeed(container, "--device-rm", "/dev/mine")
    assert inside(container, "ls /dev/mine 2>/dev/null | wc -l") == "0\n"
    assert container.state()["updated"] == {"removedDevices": ["/dev/mine"]}
    succeed(container, "--device", f"{device}:/dev/mine")
    assert container.state()["updated"] == {"devices": ["/dev/mine"]}


def test_without_a_gap_in_the_rules(runtime: Runtime, bundle: Bundle, device: str) -> None:
    """A device that both sets of rules allow can be opened at every moment."""
    bundle.sh("while [ ! -e /stop ]; do head -c1 /dev/zero >/dev/null || echo gap; done; echo end")
    container = runtime.started(bundle)
    for _ in range(5):
        succeed(container, "--device", device)
        succeed(container, "--device-rm", device)
    (bundle.rootfs / "stop").touch()
    container.wait()
    assert container.output == "end\n"


# ---- crun's command ------------------------------------------------------------------------------------------


def test_mounts_add_and_remove(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    entries = [
        {"destination": "/mnt/x", "type": "bind", "source": "source", "options": ["bind", "ro"]},
        {"destination": "/mnt/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=4k"]},
    ]
    path = runtime.work / "mounts.json"
    path.write_text(json.dumps(entries))
    result = runtime("mounts", "add", container.id, path)
    assert (result.code, result.out, result.err) == (0, "", ""), result
    assert inside(container, "cat /mnt/x/file; df /mnt/t | grep -c tmpfs") == "from the host\n1\n"
    assert [entry["destination"] for entry in container.state()["updated"]["mounts"]] == ["/mnt/x", "/mnt/t"]
    path.write_text(json.dumps([{"destination": "/mnt/t"}, {"destination": "/mnt/x"}]))
    result = runtime("mounts", "remove", container.id, path)
    assert (result.code, result.out, result.err) == (0, "", ""), result
    assert "updated" not in container.state()


@pytest.mark.parametrize(
    ("action", "text", "part"),
    [
        ("change", "[]", 'unknown action "change"'),
        ("add", "{}", "must be an array"),
        ("add", "[", "line 1"),
        ("add", '[{"type": "tmpfs"}]', "destination"),
        ("add", '[{"destination": "/x", "type": "proc"}]', 'type "proc" can\'t be made'),
        ("remove", '[{"destination": "/x"}]', "nothing is mounted on /x"),
        ("remove", '[{"destination": "/"}]', "the root of a running container"),
    ],
)
def test_mounts_that_are_none(action: str, text: str, part: str, runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    path = runtime.work / "mounts.json"
    path.write_text(text)
    before = mounts(container)
    result = runtime("mounts", action, container.id, path)
    assert (result.code, len(result.err.splitlines())) == (1, 1), result
    assert part in result.last_line.replace('\\"', '"'), result
    assert mounts(container) == before


# ---- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--mount", "type=proc,target=/x"], 'a mount of type "proc" can\'t be made in a running container'),
        (["--mount", "type=bind,source=/,target=x"], '"x" is not an absolute path'),
        (["--mount", "type=bind,source=/,target=/"], "the root of a running container can't be changed"),
        (["--mount", "type=bind,source=/"], "it has no target"),
        (["--mount", "type=bind,target=/x"], "the mount on /x has no source"),
        (["--mount", 'type=bind,"source=/a'], "a quote is not closed"),
        (["--mount", "type=bind,source=/nowhere,target=/x"], "/nowhere: no such file or directory"),
        (["--mount", "type=bind,source=/,target=/x,romount"], 'filesystem-specific options applied: "romount"'),
        (["--mount", "type=bind,source=/,target=/x,remount"], "can't be changed"),
        (["--mount", "type=bind,source=/,target=/proc/sys"], "inside /proc"),
        (["--mount", "type=bind,source=/,target=/proc"], "not of type proc"),
        (["--mount", "type=bind,source=/,target=/etc/passwd"], "not a directory"),
        (["--mount", "type=tmpfs,target=/x,colour=red"], "colour"),
        (["--umount", "/mnt"], "nothing is mounted on /mnt by the configuration or by update"),
        (["--umount", "/proc"], "/proc is a mount of type proc, which containers need"),
        (["--umount", "mnt"], '"mnt" is not an absolute path'),
        (["--umount", "/x", "--mount", "type=tmpfs,target=/x"], "/x is named twice"),
        (["--device", "/etc/passwd"], "/etc/passwd is not a device"),
        (["--device", "/dev/nowhere"], "device /dev/nowhere: no such file or directory"),
        (["--device", "/dev/null"], "every container has a /dev/null of its own"),
        (["--device", "/dev/zero:/dev/own:x"], '"x" is no access to a device'),
        (["--device-rm", "/dev/nowhere"], "the container has no device /dev/nowhere"),
        (["--device-rm", "/dev/null"], "every container has a /dev/null"),
    ],
)
def test_what_cant_be_done_is_one_line_and_changes_nothing(
    words: list[str], part: str, runtime: Runtime, bundle: Bundle
) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    before = snapshot(container, bundle)
    result = update(container, *words)
    assert (result.code, len(result.err.splitlines())) == (1, 1), result
    assert part in result.last_line.replace('\\"', '"'), result
    assert ", at /" not in result.last_line
    assert snapshot(container, bundle) == before


def test_what_came_before_a_failure_is_undone(runtime: Runtime, bundle: Bundle, source: Path, device: str) -> None:
    """Mount points, mounts, the node, the rules, the limits."""
    bundle.linux["resources"] = {"unified": {"cgroup.max.depth": "5"}}
    container = runtime.started(bundle.sh("sleep 99"))
    before = snapshot(container, bundle)
    result = runtime(
        "update", "--resources", "-", "--mount", f"type=bind,source={source},target=/new/deep/place", "--mount",
        "type=tmpfs,target=/other", "--mount", f"type=bind,source={source},target=/etc/passwd", "--device", device,
        container.id, stdin=json.dumps({"unified": {"cgroup.max.depth": "7"}}),
    )  # fmt: skip
    assert (result.code, "not a directory" in result.last_line) == (1, True), result
    assert snapshot(container, bundle) == before
    assert (Path(host.cgroups_of(runtime.token)[0]) / "cgroup.max.depth").read_text() == "5\n"
    inside(container, f"mknod /dev/x c {MAJOR} {MINOR}")
    assert runtime("exec", container.id, "sh", "-c", "exec 3<>/dev/x").code != 0


def test_a_mount_point_that_was_made_in_a_mount_is_removed(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """It is in the source, which is the host's."""
    container = runtime.started(bundle.sh("sleep 99"))
    before = snapshot(container, bundle)
    words = ["--mount", f"type=bind,source={source},target=/mnt", "--mount", "type=tmpfs,target=/mnt/one/two",
             "--mount", "type=tmpfs,target=/mnt/one/two/three"]  # fmt: skip
    result = update(container, *words, "--mount", f"type=bind,source={source},target=/etc/passwd")
    assert (result.code, "not a directory" in result.last_line) == (1, True), result
    assert os.listdir(source) == ["file"]
    assert snapshot(container, bundle) == before
    succeed(container, *words)
    assert sorted(os.listdir(source)) == ["file", "one"]
    succeed(container, "--umount", "/mnt", "--umount", "/mnt/one/two/three", "--umount", "/mnt/one/two")


def test_a_stopped_container(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    container = runtime.container(bundle.args("true"))
    container.finish()
    result = update(container, "--mount", f"type=bind,source={source},target=/x")
    assert (result.code, "container not running" in result.last_line) == (1, True)


def test_an_ordinary_user(rootless: RootlessRuntime) -> None:
    """The message has the reason, and nothing is changed."""
    container = rootless.started(rootless.bundle().sh("sleep 99"))
    before = mounts(container)
    for words in (["--mount", "type=tmpfs,target=/x"], ["--umount", "/x"], ["--device-rm", "/dev/x"]):
        result = update(container, *words)
        assert (result.code, len(result.err.splitlines())) == (1, 1), result
        assert "without root (a user's mount can't be handed from one mount namespace to another" in result.last_line
    assert mounts(container) == before


def test_a_container_on_the_hosts_mounts(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.without_namespace("mount").mounts.clear()
    container = runtime.started(bundle.sh("sleep 99"))
    result = update(container, "--mount", f"type=bind,source={source},target=/x")
    assert (result.code, "has no mount namespace of its own" in result.last_line) == (1, True)
    assert "/x" not in tree(bundle)


def test_something_else_on_the_path_is_not_unmounted(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """The container has mounted over what update has mounted."""
    for name in ("bounding", "effective", "permitted"):
        bundle.process["capabilities"][name] = [*bundle.process["capabilities"][name], "CAP_SYS_ADMIN"]
    container = runtime.started(bundle.sh("sleep 99"))
    succeed(container, "--mount", f"type=bind,source={source},target=/mnt/x")
    inside(container, "mount -t tmpfs own /mnt/x")
    before = mounts(container)
    result = update(container, "--umount", "/mnt/x")
    assert (result.code, "is not what update has mounted there" in result.last_line) == (1, True)
    assert mounts(container) == before
    inside(container, "umount /mnt/x; umount /mnt/x")
    result = update(container, "--umount", "/mnt/x")
    assert (result.code, "/mnt/x is not a mount point" in result.last_line) == (1, True)


def test_another_file_in_a_devices_place_stays(runtime: Runtime, bundle: Bundle, device: str) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    succeed(container, "--device", device)
    inside(container, f"rm {device}; echo mine >{device}")
    result = update(container, "--device-rm", device)
    assert (result.code, "is another file than the device by now" in result.last_line) == (1, True)
    assert inside(container, f"cat {device}") == "mine\n"
    inside(container, f"rm {device}")
    succeed(container, "--device-rm", device)


# ---- attacks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["/", "../../../../../..", "/proc/1/root"])
def test_a_link_of_the_container_stays_inside(link: str, runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """A target below a symbolic link that names the host's root."""
    (bundle.rootfs / "out").symlink_to(link)
    container = runtime.started(bundle.sh("sleep 99"))
    place = f"/out{runtime.work}/victim"
    update(container, "--mount", f"type=bind,source={source},target={place}")
    assert not (runtime.work / "victim").exists()
    assert not [line for line in host.mounts_of(runtime.token) if "victim" in line]


def test_a_target_that_is_exchanged_with_a_symlink_during_500_updates(
    runtime: Runtime, bundle: Bundle, source: Path
) -> None:
    """CVE-2021-30465's race, against a running container: no mount and no file gets out of the rootfs."""
    victim = runtime.work / "victim"
    victim.mkdir()
    (bundle.rootfs / "mnt/dir").mkdir()
    (bundle.rootfs / "mnt/link").symlink_to(f"/../../../../../../..{victim}")
    (bundle.rootfs / f"{str(victim).lstrip('/')}").mkdir(parents=True)
    container = runtime.started(bundle.sh("sleep 99"))
    pair = bundle.rootfs / "mnt/dir", bundle.rootfs / "mnt/link"
    done = 0
    with exchanging(*pair):
        for turn in range(250):
            made = update(container, "--mount", f"type=bind,source={source},target=/mnt/dir/n{turn % 7}")
            assert os.listdir(victim) == []
            assert not [line for line in host.mounts_of(runtime.token) if str(victim) in line.split()[4:5]]
            if made.code == 0:
                done += 1
                gone = update(container, "--umount", f"/mnt/dir/n{turn % 7}")
                assert gone.code in (0, 1)
    assert done > 20
    assert os.listdir(victim) == []
