from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pyrunc.libcontainer.seccomp import constants

SCHEMA = json.loads((Path(__file__).resolve().parents[4] / "spec-schemas/config.schema.json").read_text())["$defs"]
PROFILE = SCHEMA["seccomp"]["properties"]
RULE = PROFILE["syscalls"]["items"]["properties"]


def test_they_are_the_schemas_words() -> None:
    assert sorted(constants.ACTIONS) == sorted(SCHEMA["seccompAction"]["enum"])
    assert sorted(constants.OPERATORS) == sorted(RULE["args"]["items"]["properties"]["op"]["enum"])
    assert sorted(constants.FLAGS) == sorted(PROFILE["flags"]["items"]["enum"])
    assert sorted(constants.ARCHITECTURES) == sorted(PROFILE["architectures"]["items"]["enum"])


def test_the_numbers_are_the_headers() -> None:
    try:
        text = Path("/usr/include/linux/seccomp.h").read_text()
        library = Path("/usr/include/seccomp.h").read_text()
    except FileNotFoundError as error:
        pytest.skip(f"{error.filename} is not here")
    returns = dict(re.findall(r"#define SECCOMP_RET_(\w+)\s+(0x[0-9a-f]+)U", text))
    for name, number in constants.ACTIONS.items():
        short = name.removeprefix("SCMP_ACT_").replace("NOTIFY", "USER_NOTIF")
        assert number == int(returns[{"KILL": "KILL_THREAD"}.get(short, short)], 16), name
    flags = dict(re.findall(r"#define (SECCOMP_FILTER_FLAG_\w+)\s+\(1UL << (\d+)\)", text))
    for name, number in constants.FLAGS.items():
        assert name.endswith("TSYNC") or number == 1 << int(flags[name]), name
    assert 1 << int(flags["SECCOMP_FILTER_FLAG_NEW_LISTENER"]) == constants.NEW_LISTENER
    for name, number in constants.OPERATORS.items():
        assert re.search(rf"\b{name}\s*=\s*{number},", library), name
