from __future__ import annotations

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from pyrunc import output

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_indented_json_is_what_the_json_package_lays_out(value: object) -> None:
    assert output.indented(value) == json.dumps(value, indent=2, ensure_ascii=False)


def test_the_unit_of_indentation() -> None:
    assert output.indented({"a": [1]}, "\t") == '{\n\t"a": [\n\t\t1\n\t]\n}'


def test_a_table_has_columns_of_twelve_and_three_apart() -> None:
    rows: list[tuple[str, ...]] = [("ID", "PID", "OWNER"), ("a-rather-long-id", "1", "root")]
    assert output.table(rows) == "ID                 PID         OWNER\na-rather-long-id   1           root\n"


def test_more_than_a_pipe_holds_is_written_whole(tmp_path: object) -> None:
    text = "é\udcff" * 100_000
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        output.write(write_end, text)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as file:
        data = file.read()
    assert os.waitpid(child, 0)[1] == 0
    assert data == ("é\ufffd" * 100_000).encode()  # F14: a byte that is no UTF-8 is printed as Go prints it
