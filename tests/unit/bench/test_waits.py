"""The waits of a start, out of the kernel's trace."""

from __future__ import annotations

import pytest

from tests.bench import waits
from tests.bench.waits import Row, Wait
from tests.support.runtime import REPOSITORY

# A program, /bin/box, that waits for its child in wait4 (61), while the child waits in umount2 (166); both are switched
# off once by the scheduler, and a stranger waits in the same call.
TRACE = """\
# tracer: nop
           spawn-100     [000] .....  10.000000: sys_enter: NR 59 (1, 2, 3, 4, 5, 6)
             box-100     [000] .....  10.001000: sched_process_exec: filename=/bin/box pid=100 old_pid=100
             box-100     [000] .....  10.001000: sys_exit: NR 59 = 0
             box-100     [000] .....  10.002000: sched_process_fork: comm=box pid=100 child_comm=box child_pid=101
             box-100     [000] .....  10.002000: sys_enter: NR 61 (0, 0, 0, 0, 0, 0)
             box-100     [000] d..2.  10.003000: sched_switch: prev_comm=box prev_pid=100 prev_prio=120 \
prev_state=S ==> next_comm=box: [a b] next_pid=101 next_prio=120
     box: [a b]-101      [000] .....  10.003500: sys_enter: NR 166 (0, 0, 0, 0, 0, 0)
     box: [a b]-101      [000] d..2.  10.004000: sched_switch: prev_comm=box: [a b] prev_pid=101 prev_prio=120 \
prev_state=D ==> next_comm=other next_pid=7 next_prio=120
           other-7       [000] .....  10.004100: sys_enter: NR 166 (0, 0, 0, 0, 0, 0)
           other-7       [000] d..2.  10.004200: sched_switch: prev_comm=other prev_pid=7 prev_prio=120 \
prev_state=D ==> next_comm=swapper/0 next_pid=0 next_prio=120
          <idle>-0       [000] d.h3.  10.006000: sched_wakeup: comm=box: [a b] pid=101 prio=120 target_cpu=000
          <idle>-0       [000] d..2.  10.006500: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 \
prev_state=R ==> next_comm=box: [a b] next_pid=101 next_prio=120
     box: [a b]-101      [000] .....  10.006600: sys_exit: NR 166 = 0
     box: [a b]-101      [000] d..2.  10.007000: sched_switch: prev_comm=box: [a b] prev_pid=101 prev_prio=120 \
prev_state=R+ ==> next_comm=other next_pid=7 next_prio=120
           other-7       [000] d..2.  10.008000: sched_switch: prev_comm=other prev_pid=7 prev_prio=120 \
prev_state=S ==> next_comm=box: [a b] next_pid=101 next_prio=120
     box: [a b]-101      [000] d..3.  10.009000: sched_wakeup: comm=box pid=100 prio=120 target_cpu=000
     box: [a b]-101      [000] d..2.  10.009500: sched_switch: prev_comm=box: [a b] prev_pid=101 prev_prio=120 \
prev_state=Z ==> next_comm=box next_pid=100 next_prio=120
             box-100     [000] .....  10.009600: sys_exit: NR 61 = 101
"""


def test_waits_of_a_program_and_of_its_children() -> None:
    found = waits.waits(TRACE.splitlines(), "/bin/box")
    assert [wait[:3] for wait in found] == [("box: [a b]", "umount2", "D"), ("box", "wait4", "S")]
    assert [round(value, 3) for wait in found for value in wait[3:]] == [2.0, 0.5, 6.0, 0.5]


@pytest.mark.parametrize("program", ["/bin/bo", "/bin/boxer", "/other"])
def test_other_programs_do_not_count(program: str) -> None:
    assert waits.waits(TRACE.splitlines(), program) == []


def test_a_wait_outside_of_a_call_has_no_call() -> None:
    lines = [line for line in TRACE.splitlines() if "sys_enter: NR 166" not in line]
    assert waits.waits(lines, "/bin/box")[0].call == waits.NO_CALL


def test_rows_are_medians_of_starts() -> None:
    start = [Wait("box", "wait4", "S", 1.0, 0.5), Wait("box", "wait4", "S", 2.0, 0.0), Wait("a", "read", "S", 0.001, 0)]
    longer = [Wait("box", "wait4", "S", 5.0, 0.5), Wait("a", "mount", "D", 6.0, 0.0)]
    assert waits.rows([start, start, longer]) == [Row("box", "wait4", "S", 2, 3.0, 0.5)]


def test_the_table_names_set_and_runtime() -> None:
    table = waits.text({("small set", "pyrunc"): [[Wait("a", "read", "S", 1.0, 0.25)]]})
    assert table.splitlines()[2] == "| small set | pyrunc | a | read | S | 1 | 1.00 | 0.25 |"


def test_the_document_has_the_marks() -> None:
    document = (REPOSITORY / "docs/performance.md").read_text()
    assert document.count(waits.BEGIN) == document.count(waits.END) == 1
