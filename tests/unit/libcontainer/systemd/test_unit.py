"""cgroupsPath as slice, prefix and name."""

from __future__ import annotations

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.systemd.unit import expand, unit_for


@pytest.mark.parametrize(
    ("path", "user", "name", "slice"),
    [
        ("", False, "pyrunc-box.scope", "system.slice"),
        ("", True, "pyrunc-box.scope", "user.slice"),
        ("machine.slice:docker:1234", False, "docker-1234.scope", "machine.slice"),
        (":crio:abc", False, "crio-abc.scope", "system.slice"),
        (":crio:abc", True, "crio-abc.scope", "user.slice"),
        ("a-b.slice::x", False, "-x.scope", "a-b.slice"),
        ("-.slice:p:x", False, "p-x.scope", "-.slice"),
        ("a.slice:p:", False, "p-.scope", "a.slice"),
    ],
)
def test_units(path: str, user: bool, name: str, slice: str) -> None:
    unit = unit_for(path, "box", user)
    assert (unit.name, unit.slice) == (name, slice)


def test_what_the_container_is_called() -> None:
    assert unit_for("a.slice:p:x", "box", False).label == "x"
    assert unit_for("", "box", False).label == "box"


@pytest.mark.parametrize("path", ["/a/b", "a", "a:b", "a:b:c:d"])
def test_a_path_of_another_form(path: str) -> None:
    with pytest.raises(PyruncError, match='expected cgroupsPath to be of format "slice:prefix:name"') as caught:
        unit_for(path, "box", False)
    assert f'got "{path}" instead' in caught.value.message
    assert caught.value.pointer == "/linux/cgroupsPath"


@pytest.mark.parametrize(
    "slice", ["system", "a/b.slice", "a--b.slice", "-a.slice", "a-.slice", "-", ".slice", "a.slice/"]
)
def test_a_slice_that_is_none(slice: str) -> None:
    with pytest.raises(PyruncError, match="invalid slice name: ") as caught:
        unit_for(slice + ":p:x", "box", False)
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_a_slice_in_the_name_s_place() -> None:
    with pytest.raises(PyruncError, match=r'names the slice "x\.slice"'):
        unit_for("a.slice:p:x.slice", "box", False)


@pytest.mark.parametrize(
    ("path", "id"), [(":p:../../x", "box"), (":p/q:x", "box"), (":p:é", "box"), (f":p:{'x' * 255}", "box"), ("", "a+b")]
)
def test_what_can_t_be_a_unit_s_name(path: str, id: str) -> None:
    with pytest.raises(PyruncError, match="is no name for a systemd unit"):
        unit_for(path, id, False)


@pytest.mark.parametrize(
    ("slice", "path"),
    [
        ("-.slice", ""),
        ("system.slice", "/system.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
    ],
)
def test_slices_are_in_slices(slice: str, path: str) -> None:
    assert expand(slice) == path
