"""Id-mapped mounts."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from pyrunc.libcontainer.spec.idmap_option import parse_ranges
from tests.support.plans import Spec, compiled, find, kinds, values, with_linux

MS_SLAVE_REC = 1 << 19 | 1 << 14
MAPS = [{"containerID": 0, "hostID": 1000, "size": 5}, {"containerID": 7, "hostID": 9, "size": 1}]
LINES = ("0 1000 5", "7 9 1")
USERNS_LINES = ("0 100000 65536",)


def mapped(*options: str, target: str = "/m", **more: Any) -> Any:
    return {"destination": target, "type": "bind", "source": "/s", "options": ["bind", *options], **more}


def own_maps(*options: str, **more: Any) -> Any:
    return mapped(*options, uidMappings=MAPS, gidMappings=MAPS[:1], **more)


def spec_of(*mounts: Any, types: tuple[str, ...] = ()) -> Spec:
    spec = with_linux(*types)
    spec["mounts"] = list(mounts)
    return spec


def sources(plan: LaunchPlan) -> list[tuple[Any, ...]]:
    return [(step.kind, *step.args, step.pointer) for step in find(plan, "make_idmap", "open_mapped_source")]


@pytest.mark.parametrize(("options", "below"), [((), 0), (("idmap",), 0), (("ridmap",), 1)])
def test_the_mount_s_own_maps(options: tuple[str, ...], below: int) -> None:
    plan = compiled(spec_of(own_maps(*options)))
    assert sources(plan) == [
        ("make_idmap", "idmap:0", LINES, LINES[:1], "/mounts/0"),
        ("open_mapped_source", "source:0", "/s", 0, 0, "idmap:0", below, "/mounts/0"),
    ]
    assert [(step.arg("source_fd"), step.fallback_level) for step in find(plan, "bind")] == [("source:0", 0)]


def values_of_bind(plan: LaunchPlan) -> tuple[Any, ...]:
    return values(find(plan, "bind")[0], "source_fd", "attr_set", "attr_clr", "propagation")


def test_the_runtime_s_mount_is_no_peer_of_the_host_s() -> None:
    assert values_of_bind(compiled(spec_of(own_maps())))[3] == MS_SLAVE_REC
    plan = compiled(spec_of(own_maps("rshared")))
    assert values_of_bind(plan)[3] == MS_SLAVE_REC
    assert values(find(plan, "remount")[0], "propagation") == (1 << 20 | 1 << 14,)
    assert values_of_bind(compiled(spec_of(own_maps("rprivate"))))[3] == 1 << 18 | 1 << 14


def test_without_a_user_namespace_no_flag_is_locked() -> None:
    plain = {"destination": "/m", "type": "bind", "source": "/s", "options": ["bind", "ro"]}
    assert values_of_bind(compiled(spec_of(own_maps("ro"))))[1:3] == values_of_bind(compiled(spec_of(plain)))[1:3]


@pytest.mark.parametrize("word", ["idmap", "ridmap"])
def test_the_maps_of_the_container_s_user_namespace(word: str) -> None:
    plan = compiled(spec_of(mapped(word), types=("user",)))
    assert sources(plan)[0] == ("make_idmap", "idmap:0", USERNS_LINES, USERNS_LINES, "/mounts/0")
    assert not find(plan, "open_source")


def test_a_user_namespace_that_is_joined() -> None:
    spec = spec_of(mapped("idmap"))
    spec["linux"]["namespaces"].append({"type": "user", "path": "/proc/7/ns/user"})
    plan = compiled(spec)
    assert sources(plan) == [("open_mapped_source", "source:0", "/s", 0, 0, "namespace:user", 0, "/mounts/0")]
    order = [step.kind for step in plan.prepare]
    assert order.index("open_namespace") < order.index("open_mapped_source") < order.index("clone")


def test_mounts_with_the_same_maps_share_a_namespace() -> None:
    other = mapped(target="/c", uidMappings=MAPS, gidMappings=MAPS)
    plan = compiled(spec_of(own_maps(target="/a"), own_maps(target="/b"), other, mapped("idmap"), types=("user",)))
    assert [step.args[0] for step in find(plan, "make_idmap")] == ["idmap:0", "idmap:1", "idmap:2"]
    assert [step.arg("idmap") for step in find(plan, "open_mapped_source")] == [
        "idmap:0", "idmap:0", "idmap:1", "idmap:2",
    ]  # fmt: skip


def test_other_mounts_are_as_they_were() -> None:
    plain = {"destination": "/p", "type": "bind", "source": "/p", "options": ["rbind"]}
    for types in ((), ("user",)):
        alone = compiled(spec_of(plain, types=types))
        beside = compiled(spec_of(plain, own_maps(), types=types))
        assert [step.args for step in find(beside, "bind")][: len(find(alone, "bind"))] == [
            step.args for step in find(alone, "bind")
        ]
        assert len(find(beside, "open_source")) == len(find(alone, "open_source"))
    assert "make_idmap" not in kinds(compiled(spec_of(plain)))


def test_it_takes_root() -> None:
    with pytest.raises(PyruncError, match="not supported for rootless containers") as raised:
        compiled(spec_of(own_maps(), types=("user",)), HostFacts(euid=1000))
    assert raised.value.pointer == "/mounts/0/options"


@pytest.mark.parametrize("word", ["idmap", "ridmap"])
def test_s2_crun_s_syntax_of_an_id_map_is_applied(word: str) -> None:
    """S2: pyrunc warned of `idmap=uids=…;gids=…` and did not map the mount."""
    plan = compiled(spec_of(mapped(f"{word}=uids=0-1-100#200-300-5;gids=7-9-1")))
    assert sources(plan) == [
        ("make_idmap", "idmap:0", ("0 1 100", "200 300 5"), ("7 9 1",), "/mounts/0"),
        ("open_mapped_source", "source:0", "/s", 0, 0, "idmap:0", int(word == "ridmap"), "/mounts/0"),
    ]


def test_s2_a_relative_map_counts_in_the_container_s_user_namespace() -> None:
    linux: Any = {
        "uidMappings": [
            {"containerID": 0, "hostID": 0, "size": 1},
            {"containerID": 1, "hostID": 2, "size": 1000},
        ],
        "gidMappings": [{"containerID": 0, "hostID": 70, "size": 10}],
    }
    uids, gids = parse_ranges("uids=@1-3-10;gids=5-6-7", linux)
    assert uids == [{"containerID": 1, "hostID": 4, "size": 10}]
    assert gids == [{"containerID": 5, "hostID": 6, "size": 7}]


def test_s2_what_is_no_id_map_is_refused_with_its_pointer() -> None:
    with pytest.raises(PyruncError, match="mapping") as caught:
        compiled(spec_of(mapped("idmap=uids=0-1-100;gids=0-1-0")))
    assert caught.value.pointer == "/mounts/0/options/1"


@pytest.mark.parametrize(("own", "inside"), [(True, "idmap:map:0"), (False, "namespace:user")])
def test_b4_a_source_in_the_rootfs_is_mapped_when_its_turn_has_come(own: bool, inside: str) -> None:
    """B4: the runtime would open it before the mounts that change it."""
    mount = own_maps("rbind") if own else mapped("rbind", "ridmap")
    mount["source"] = "/bundle/./rootfs/x"
    spec = spec_of(mount)
    if not own:
        spec["linux"]["namespaces"].append({"type": "user", "path": "/proc/7/ns/user"})
    plan = compiled(spec)
    assert not [step for step in plan.prepare if step.kind in ("make_idmap", "open_source", "open_mapped_source")]
    served = plan.served["map:0"]
    assert [step.kind for step in served] == (["make_idmap"] if own else []) + ["map_source"]
    assert values(served[-1], "idmap", "below") == (inside, 0 if own else 1)
    opened, bound = find(plan, "open_inside", "bind")
    assert values(opened, "source", "recursive", "what") == ("/bundle/./rootfs/x", 1, "map:0")
    assert bound.arg("links") == 8
    assert bound.arg("keep") == opened.arg("keep")
