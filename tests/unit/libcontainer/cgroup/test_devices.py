"""cgroup.devices: the text of rules, and the answers of the assembled program, run by a small interpreter."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import devices

TYPES = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}


def run(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """Interpret a program as the kernel does: struct bpf_cgroup_dev_ctx in, R0 out; only instructions that assemble may
    emit.
    """
    context = struct.pack("<III", sum(ACCESS[a] for a in access) << 16 | TYPES[kind], major, minor)
    registers: list[int | None] = [None] * 11
    at = 0
    while True:
        operation, pair, offset, value = struct.unpack_from("<BBhI", program, at * 8)
        target, source = pair & 15, pair >> 4
        at += 1
        if operation == 0x95:
            result = registers[0]
            assert result in (0, 1)
            return result == 1
        if operation == 0x61:
            assert source == 1
            registers[target] = struct.unpack_from("<I", context, offset)[0]
        elif operation == 0xB4:
            registers[target] = value
        elif operation == 0xBC:
            registers[target] = registers[source]
        elif operation == 0x05:
            assert offset >= 0
            at += offset
        else:
            held = registers[target]
            assert held is not None, "a register is read before it is set"
            if operation == 0x54:
                registers[target] = held & value
            elif operation == 0x64:
                registers[target] = held << value & 0xFFFFFFFF
            elif operation == 0x4C:
                added = registers[source]
                assert added is not None
                registers[target] = held | added
            elif operation == 0x74:
                registers[target] = held >> value
            else:
                assert offset >= 0, "the verifier knows no way back"
                taken = {0x16: held == value, 0x46: held & value != 0}[operation]
                at += offset if taken else 0


def allowed(rules: list[str], request: str) -> bool:
    """request: `c 1:3 rw`."""
    kind, numbers, access = request.split(" ")
    major, minor = numbers.split(":")
    return run(devices.assemble(rules), kind, int(major), int(minor), access)


@pytest.mark.parametrize(
    ("rules", "yes", "no"),
    [
        pytest.param([], [], ["c 1:3 r", "b 8:0 m"], id="no rule denies"),
        pytest.param(["a * * rwm allow"], ["c 1:3 rwm", "b 8:0 w"], [], id="a wildcard allows everything"),
        pytest.param(["a * * rwm deny"], [], ["c 1:3 r", "b 8:0 w"], id="a wildcard denies everything"),
        pytest.param(["c 1 3 rwm allow"], ["c 1:3 rwm", "c 1:3 r"], ["b 1:3 r", "c 1:5 r", "c 3:1 r"], id="exact"),
        pytest.param(["c 1 3 r allow"], ["c 1:3 r"], ["c 1:3 rw", "c 1:3 w", "c 1:3 m"], id="access is covered fully"),
        pytest.param(["c 1 3 r allow", "c * * w allow"], ["c 1:3 rw", "c 9:9 w"], ["c 9:9 rw"], id="rules add up"),
        pytest.param(["c 136 * rw allow"], ["c 136:0 rw", "c 136:99 r"], ["c 137:0 r"], id="any minor"),
        pytest.param(["b * 7 m allow"], ["b 8:7 m"], ["b 8:8 m", "c 8:7 m"], id="any major"),
        pytest.param(
            ["c 1 3 rwm allow", "a * * rwm deny", "c 1 5 r allow"], ["c 1:5 r"], ["c 1:3 r"], id="a wildcard resets"
        ),
        pytest.param(
            ["a * * rwm allow", "c 1 3 w deny"],
            ["c 1:3 r", "c 1:5 rw"],
            ["c 1:3 w", "c 1:3 rw", "c 1:3 wm"],
            id="a denied part denies the whole",
        ),
        pytest.param(["c 1 3 rwm allow", "c 1 3 w deny"], ["c 1:3 rm"], ["c 1:3 w", "c 1:3 rw"], id="deny takes away"),
        pytest.param(
            ["a * * rwm allow", "c 1 3 w deny", "c 1 3 w allow"], ["c 1:3 rwm"], [], id="the last of two decides"
        ),
        pytest.param(["c * * rwm allow", "c 1 3 r deny"], ["c 1:3 w", "c 1:5 r"], ["c 1:3 r"], id="a hole"),
        pytest.param(["c 1 3 rwm allow", "c * * rwm deny"], [], ["c 1:3 r", "c 1:3 w"], id="a later wildcard type"),
        pytest.param(["a 10 229 rwm allow"], ["c 10:229 rw", "b 10:229 r"], ["c 10:228 r"], id="any type, one device"),
        pytest.param(["a * * rwm allow", "a * * m deny"], ["c 1:3 rw"], ["c 1:3 m", "b 1:3 rwm"], id="any, one access"),
        pytest.param(["c 4095 1048575 r allow"], ["c 4095:1048575 r"], ["c 0:0 r"], id="the largest dev_t"),
        pytest.param(["c 4096 1 r allow", "c 1 1048576 r allow"], [], ["c 0:1 r", "c 2:0 r", "c 1:0 r"], id="beyond"),
        pytest.param(
            ["c 1 * r allow", "c * 3 w allow", "c 1 * w deny"],
            ["c 1:9 r", "c 2:3 w", "c 1:3 r"],
            ["c 1:3 w", "c 2:9 r"],
            id="where a major and a minor meet",
        ),
    ],
)
def test_answers(rules: list[str], yes: list[str], no: list[str]) -> None:
    assert [request for request in yes if not allowed(rules, request)] == []
    assert [request for request in no if allowed(rules, request)] == []


def test_the_default_rules_over_deny_all() -> None:
    rules = list(devices.rules_for([{"allow": False, "access": "rwm"}]))
    for request in ("c 1:3 rwm", "c 1:5 rw", "c 1:7 w", "c 1:8 r", "c 1:9 r", "c 5:0 rw", "c 5:2 rw", "c 136:3 rw"):
        assert allowed(rules, request)
    assert allowed(rules, "c 10:200 rw")
    assert allowed(rules, "b 8:0 m")  # a node may be made, but not opened
    assert not allowed(rules, "b 8:0 r")
    assert not allowed(rules, "c 1:1 r")


_rules = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from([devices.ANY, 1, 2]),
    st.sampled_from([devices.ANY, 1, 2]),
    st.sampled_from(["r", "w", "m", "rw", "wm", "rm", "rwm"]),
    st.booleans(),
)


@given(st.lists(_rules, max_size=12))
def test_the_last_rule_that_covers_decides_each_access(rules: list[tuple[str, int, int, str, bool]]) -> None:
    program = devices.assemble([devices.format_rule(*rule) for rule in rules])

    def model(kind: str, major: int, minor: int, wanted: str) -> bool:
        for rule_kind, rule_major, rule_minor, access, allow in reversed(rules):
            if (
                rule_kind in ("a", kind)
                and rule_major in (devices.ANY, major)
                and rule_minor in (devices.ANY, minor)
                and wanted in access
            ):
                return allow
        return False

    for kind in "bc":
        for major in (1, 2, 3):
            for minor in (1, 2, 3):
                for access in ("r", "w", "m", "rw", "rwm"):
                    expected = all(model(kind, major, minor, wanted) for wanted in access)
                    assert run(program, kind, major, minor, access) == expected


@given(st.lists(_rules, max_size=12))
def test_every_instruction_can_be_reached(rules: list[tuple[str, int, int, str, bool]]) -> None:
    """The verifier refuses a program with dead code."""
    program = devices.assemble([devices.format_rule(*rule) for rule in rules])
    reached = {0}
    for at in range(len(program) // 8):
        assert at in reached
        operation, _, offset, _ = struct.unpack_from("<BBhI", program, at * 8)
        if operation in (0x05, 0x16, 0x46):
            reached.add(at + 1 + offset)
        if operation not in (0x05, 0x95):
            reached.add(at + 1)
    assert max(reached) < len(program) // 8


def test_the_program_stays_small() -> None:
    """The kernel verifies it at each launch: about 25 instructions for the default config, not a chain of
    conditions.
    """
    assert len(devices.assemble(devices.rules_for([{"allow": False, "access": "rwm"}]))) // 8 <= 30


@pytest.mark.parametrize("text", ["c 1 3 rwm allow", "a * * rwm deny", "b 8 * r allow", "c * 0 wm deny"])
def test_text_round_trip(text: str) -> None:
    kind, major, minor, mask, allow = devices.parse_rule(text)
    access = "".join(letter for letter in "rwm" if ACCESS[letter] & mask)
    assert devices.format_rule(kind, major, minor, access, allow) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c 1 3 rwm",
        "p 1 3 rwm allow",
        "c 1 3  allow",
        "c 1 3 rx allow",
        "c -1 3 r allow",
        "c 1 4294967296 r allow",
        "c 1 x r allow",
        "c 1 3 r maybe",
        "c  1 3 r allow",
        " 1 3 r allow",
    ],
)
def test_bad_text(text: str) -> None:
    with pytest.raises(PyruncError) as caught:
        devices.parse_rule(text)
    assert caught.value.pointer == "/linux/resources/devices"


def test_rules_for_keeps_the_order_and_fills_in() -> None:
    rules = devices.rules_for(
        [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "b", "major": 8, "minor": -1, "access": "r"},
        ]
    )
    assert rules[:3] == ("a * * rwm deny", "c 10 229 rw allow", "b 8 * r allow")
    assert rules[3:5] == ("c * * m allow", "b * * m allow")
    assert "c 1 3 rwm allow" in rules


def test_a_default_device_that_is_configured_has_no_default_rule() -> None:
    assert "c 1 3 rwm allow" not in devices.rules_for([], {"/dev/null", "/dev/fuse"})
    assert "c 1 5 rwm allow" in devices.rules_for([], {"/dev/null", "/dev/fuse"})


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        ({"allow": True, "type": "c"}, "/linux/resources/devices/1/access"),
        ({"allow": True, "type": "c", "access": "rx"}, "/linux/resources/devices/1"),
        ({"allow": True, "type": "u", "access": "r"}, "/linux/resources/devices/1"),
        ({"allow": True, "type": "c", "major": -2, "access": "r"}, "/linux/resources/devices/1"),
    ],
)
def test_rules_for_refuses(entry: Any, pointer: str) -> None:
    with pytest.raises(PyruncError) as caught:
        devices.rules_for([{"allow": False, "access": "rwm"}, entry])
    assert caught.value.pointer == pointer


def test_too_many_rules_are_refused() -> None:
    with pytest.raises(PyruncError, match="too many device rules"):
        devices.assemble([f"c 1 {minor} r allow" for minor in range(33000)])


def test_the_verifiers_reason_is_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    native = pytest.importorskip("pyrunc.libcontainer.kernel.native")
    calls = []

    def bpf(command: int, attributes: bytearray, buffers: list[tuple[int, bytes | bytearray]]) -> int:
        calls.append(command)
        if len(buffers) == 3:
            offset, log = buffers[2]
            assert offset == 32
            assert struct.unpack_from("<II", attributes, 24) == (1, len(log))
            assert isinstance(log, bytearray)
            text = b"0: (95) exit\nR0 !read_ok\n"
            log[: len(text)] = text
        raise OSError(errno.EACCES, "permission denied")

    monkeypatch.setattr(native, "bpf", bpf)
    with pytest.raises(PyruncError) as caught:
        devices.attach(0, devices.assemble([]))
    assert caught.value.message == "loading the device rules (0: (95) exit R0 !read_ok)"
    assert caught.value.errno == errno.EACCES
    assert calls == [5, 5]


def test_a_missing_capability_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    native = pytest.importorskip("pyrunc.libcontainer.kernel.native")

    def bpf(command: int, attributes: bytearray, buffers: list[tuple[int, bytes | bytearray]]) -> int:
        raise PermissionError(errno.EPERM, "operation not permitted")

    monkeypatch.setattr(native, "bpf", bpf)
    with pytest.raises(PyruncError, match=r"loading the device rules: operation not permitted .*CAP_BPF"):
        devices.attach(0, devices.assemble([]))


def test_the_programs_that_are_made_at_import_are_those_that_assemble_makes() -> None:
    assert devices._KNOWN
    for rules, made in devices._KNOWN.items():
        assert devices.program(rules) == made == devices.assemble(rules)
    others = devices.rules_for(({"allow": True, "access": "rwm", "type": "c", "major": 1, "minor": 3},))
    assert others not in devices._KNOWN
    assert devices.program(others) == devices.assemble(others)
