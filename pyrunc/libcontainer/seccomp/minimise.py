"""A smaller filter that decides as a given one does: the kernel checks, translates and compiles each instruction of a
filter at every load, and executes it once for each system call that there is. Cold.

libseccomp compares a call's number with each number of the profile. Here the numbers with one decision become ranges,
which a tree of comparisons finds, and what depends on arguments is there once. First it is found out what the given
filter decides: for each architecture, for each range of numbers. A decision is a value, or a test of an argument with
two decisions. The new filter is used only if it decides the same: for each number at which a comparison of one of the
two could change, both are analysed, and both are executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from .classic import (
    AND,
    ARCH_OFFSET,
    FARTHEST,
    JUMP,
    JUMP_EQUAL,
    JUMP_GREATER,
    JUMP_GREATER_OR_EQUAL,
    LOAD,
    NUMBER_OFFSET,
    RETURN,
    TESTS,
    WORD,
    Instruction,
    execute,
    fault,
    packed,
    unpacked,
)

# A word that was loaded: its offset in struct seccomp_data, and the mask that was applied.
Word = tuple[int, int]
# A decision: the filter's return value, or if negative, ~ the index of a test.
Decision = int
# The decisions for an architecture: the first number of each range, and its decision. The first range begins at 0.
Ranges = list[tuple[int, Decision]]
# A range of numbers: the first, the last, the decision.
_Range = tuple[int, int, Decision]

_NUMBER: Word = (NUMBER_OFFSET, WORD)
_ARCH: Word = (ARCH_OFFSET, WORD)
# JUMP_SET of a number is understood for one bit this high, such as that of x32.
_LOWEST_BIT = 1 << 28
# Numbers of system calls that exist are below, with or without the bit of x32.
_MOST_CALLS = 512
_X32_BIT = 1 << 30
# The time of a load for each instruction, and for its execution, in ns (measured on Linux 6.18). The kernel executes a
# filter for each number of a system call.
_INSTRUCTION = 100
_STEP = 1
# The most numbers of a leaf that are compared with one by one: a limit for the work here.
_MOST_SINGLE = 6


class NotUnderstood(Exception):
    """A filter has an instruction, or a use of one, that those of libseccomp don't have, or the kernel refuses it."""


def minimise(program: bytes) -> bytes:
    """A filter that decides as the given one does, with as many instructions at most. It is the given one if that is
    not understood, or if the two can't be shown to be equal. Raises PyruncError for bytes that are no instructions."""
    steps = unpacked(program)
    try:
        smaller = shrunk(steps)
    except NotUnderstood:
        return program
    return packed(smaller) if len(smaller) < len(steps) and are_equal(steps, smaller) else program


def shrunk(steps: Sequence[Instruction]) -> list[Instruction]:
    """A filter that decides as the given one does. Raises NotUnderstood."""
    tests = _Tests()
    architectures = _architectures(steps)
    root = _search(_with_ends(_decided(steps, _other(architectures), tests)), tests)
    for arch in reversed(architectures):
        found = _search(_with_ends(_decided(steps, arch, tests)), tests)
        root = tests.add(_ARCH, JUMP_EQUAL, arch, found, root)
    return _Writer(tests).write(root)


def are_equal(first: Sequence[Instruction], second: Sequence[Instruction]) -> bool:
    """Whether two filters decide the same about every call: by what they test, and by executing both. False for a
    filter that is not understood."""
    tests = _Tests()
    try:
        known = sorted({*_architectures(first), *_architectures(second)})
        for arch in (*known, _other(known)):
            for number in _explore(first, arch)[1] | _explore(second, arch)[1]:
                decision = _decision(first, arch, number, tests)
                if decision != _decision(second, arch, number, tests):
                    return False
                for arguments in _TRIED if decision < 0 else _TRIED[:1]:
                    if execute(first, number, arguments, arch) != execute(second, number, arguments, arch):
                        return False
    except NotUnderstood:
        return False
    return True


# Arguments for the execution of both filters.
_TRIED: Sequence[Sequence[int]] = ((0,) * 6, ((1 << 64) - 1,) * 6, (1, 2, 3, 4, 5, 6))


class _Tests:
    """All tests, each once, so that equal decisions are equal numbers."""

    __slots__ = ("_indexes", "rows")

    def __init__(self) -> None:
        self.rows: list[tuple[Word, int, int, Decision, Decision]] = []
        self._indexes: dict[tuple[Word, int, int, Decision, Decision], int] = {}

    def add(self, word: Word, code: int, operand: int, yes: Decision, no: Decision) -> Decision:
        """The decision of a test."""
        if yes == no:
            return yes
        if not word[1]:  # no bit is left: libseccomp masks both halves of an argument
            return yes if TESTS[code](0, operand) else no
        row = (word, code, operand, yes, no)
        index = self._indexes.setdefault(row, len(self.rows))
        if index == len(self.rows):
            self.rows.append(row)
        return ~index


# -- what a filter decides


def _architectures(steps: Sequence[Instruction]) -> list[int]:
    """The architectures that a filter tells apart, in its order. Raises NotUnderstood."""
    wrong = fault(steps)
    if wrong:
        raise NotUnderstood(wrong)
    return list(_explore(steps, None)[0])


def _other(architectures: Iterable[int]) -> int:
    """An architecture that is none of these."""
    return next(number for number in range(1, 1 << 16) if number not in set(architectures))


def _explore(steps: Sequence[Instruction], arch: int | None) -> tuple[dict[int, None], set[int]]:
    """Walk all ways of a filter, for one architecture or all.

    Returns the architectures that are compared with, and the first numbers of the ranges in which all comparisons of
    the number have one result. Raises NotUnderstood.
    """
    architectures: dict[int, None] = {}
    cuts = {0}
    seen = set()
    todo: list[tuple[int, Word | None]] = [(0, None)]
    while todo:
        state = _next_test(steps, *todo.pop())
        if state in seen:
            continue
        seen.add(state)
        at, word = state
        code, yes, no, operand = steps[at]
        if code == RETURN:
            continue
        ways = [(at + 1 + no, word), (at + 1 + yes, word)]
        if word == _ARCH:
            if code != JUMP_EQUAL:
                raise NotUnderstood(f"instruction {at} compares the architecture by {code:#x}")
            architectures[operand] = None
            if arch is not None:
                ways = [ways[arch == operand]]
        elif word == _NUMBER:
            cuts.update([first for first in _cuts(code, operand) if first <= WORD])
        todo += ways
    return architectures, cuts


def _cuts(code: int, operand: int) -> Iterable[int]:
    """The numbers at which the result of a test changes."""
    if code == JUMP_EQUAL:
        return (operand, operand + 1)
    if code == JUMP_GREATER:
        return (operand + 1,)
    if code == JUMP_GREATER_OR_EQUAL:
        return (operand,)
    if operand < _LOWEST_BIT or operand & (operand - 1):
        raise NotUnderstood(f"a test of the number's bits {operand:#x}")
    return range(0, WORD, operand)


def _decided(steps: Sequence[Instruction], arch: int, tests: _Tests) -> Ranges:
    """What a filter decides for an architecture. Raises NotUnderstood."""
    _, cuts = _explore(steps, arch)
    ranges: Ranges = []
    for number in sorted(cuts):
        decision = _decision(steps, arch, number, tests)
        if not ranges or ranges[-1][1] != decision:
            ranges.append((number, decision))
    return ranges


def _decision(steps: Sequence[Instruction], arch: int, number: int, tests: _Tests) -> Decision:
    """What a filter decides about a call, by its arguments. Raises NotUnderstood."""
    known: dict[tuple[int, Word | None], Decision] = {}
    start = _next_argument(steps, 0, None, arch, number)
    todo = [start]
    while todo:
        at, word = state = todo[-1]
        code, yes, no, operand = steps[at]
        if state in known:
            todo.pop()
        elif code == RETURN:
            known[state] = operand
        elif word is None:
            raise NotUnderstood(f"instruction {at} tests nothing that was loaded")
        else:
            ways = [_next_argument(steps, at + 1 + jump, word, arch, number) for jump in (yes, no)]
            missing = [way for way in ways if way not in known]
            todo += missing
            if not missing:
                known[state] = tests.add(word, code, operand, *[known[way] for way in ways])
    return known[start]


def _next_argument(
    steps: Sequence[Instruction], at: int, word: Word | None, arch: int, number: int
) -> tuple[int, Word | None]:
    """Follow a filter to the next test of an argument, or a return."""
    while True:
        at, word = _next_test(steps, at, word)
        code, yes, no, operand = steps[at]
        if code == RETURN or word not in (_NUMBER, _ARCH):
            return at, word
        at += 1 + (yes if TESTS[code](number if word == _NUMBER else arch, operand) else no)


def _next_test(steps: Sequence[Instruction], at: int, word: Word | None) -> tuple[int, Word | None]:
    """Follow a filter to the next test or return. Returns its place, and the word that it tests."""
    while at < len(steps):
        code, _, _, operand = steps[at]
        if code == RETURN:
            return at, None
        if code in TESTS:
            return at, word
        if code == LOAD:
            word = (operand, WORD)
        elif code == AND and word is not None and word not in (_NUMBER, _ARCH):
            word = (word[0], word[1] & operand)
        elif code == JUMP:
            at += operand
        else:
            raise NotUnderstood(f"instruction {at} has the code {code:#x}")
        at += 1
    raise NotUnderstood("a way without a return")


# -- the new filter


def _search(ranges: Sequence[_Range], tests: _Tests) -> Decision:
    """The tests of a number that find its range."""
    return _branches(_leaves(ranges), tests)


def _branches(leaves: Sequence[Sequence[_Range]], tests: _Tests) -> Decision:
    """A tree of comparisons above leaves."""
    if len(leaves) > 1:
        middle = _middle(leaves)
        low, high = _branches(leaves[:middle], tests), _branches(leaves[middle:], tests)
        return tests.add(_NUMBER, JUMP_GREATER_OR_EQUAL, leaves[middle][0][0], high, low)
    found, others = _usual(leaves[0])
    for first, last, decision in reversed(others):
        for number in range(last, first - 1, -1):
            found = tests.add(_NUMBER, JUMP_EQUAL, number, decision, found)
    return found


def _leaves(ranges: Sequence[_Range]) -> list[Sequence[_Range]]:
    """Divide ranges into leaves, so that a load costs least.

    In a leaf all numbers with another than its usual decision are compared with one by one.
    """
    # For each number of first ranges: the least cost, and where the last leaf begins.
    best = [(0, 0)]
    for end in range(1, len(ranges) + 1):
        found = []
        for begin in range(end - 1, -1, -1):
            cost = _cost(ranges[begin:end])
            if cost < 0:
                break
            found.append((best[begin][0] + cost, begin))
        best.append(min(found))
    leaves: list[Sequence[_Range]] = []
    end = len(ranges)
    while end:
        begin = best[end][1]
        leaves.insert(0, ranges[begin:end])
        end = begin
    return leaves


def _cost(ranges: Sequence[_Range]) -> int:
    """What a leaf costs when the filter is loaded, with its branch, in ns; -1 if it would have too many tests."""
    _, others = _usual(ranges)
    tests = sum([last - first + 1 for first, last, _ in others])
    if not tests:
        return _INSTRUCTION
    if tests > _MOST_SINGLE:
        return -1
    # The last test jumps in both cases, which the kernel makes two instructions of.
    return (tests + 2) * _INSTRUCTION + tests * _calls(ranges) * _STEP


def _usual(ranges: Sequence[_Range]) -> tuple[Decision, list[_Range]]:
    """The decision about most numbers of some ranges, and the ranges with others."""
    numbers: dict[Decision, int] = {}
    for first, last, decision in ranges:
        numbers[decision] = numbers.get(decision, 0) + last - first + 1
    usual = max(numbers, key=numbers.__getitem__)
    return usual, [each for each in ranges if each[2] != usual]


def _with_ends(ranges: Ranges) -> list[_Range]:
    """Ranges with their last numbers too."""
    firsts = [first for first, _ in ranges] + [WORD + 1]
    return [(first, end - 1, decision) for (first, decision), (_, end) in zip(ranges, pairwise(firsts), strict=True)]


def _middle(leaves: Sequence[Sequence[_Range]]) -> int:
    """Where to cut leaves so that both parts have about as many system calls."""
    weights = [_calls(leaf) + 1 for leaf in leaves]
    total, below = sum(weights), 0
    larger = []
    for weight in weights[:-1]:
        below += weight
        larger.append(max(below, total - below))
    return larger.index(min(larger)) + 1


def _calls(ranges: Sequence[_Range]) -> int:
    """How many numbers of some ranges system calls have."""
    return _calls_below(ranges[-1][1] + 1) - _calls_below(ranges[0][0])


def _calls_below(number: int) -> int:
    """How many numbers below this one system calls have, with or without the bit of x32."""
    return min(number, _MOST_CALLS) + min(max(number - _X32_BIT, 0), _MOST_CALLS)


class _Writer:
    """Writes a filter from its end, since all jumps go forward: what is written is a place to jump to.

    A place is that of a decision, and whether the word that it tests has been loaded there.
    """

    __slots__ = ("_places", "_rows", "_written")

    def __init__(self, tests: _Tests) -> None:
        self._rows = tests.rows
        self._written: list[Instruction] = []
        self._places: dict[tuple[Decision, bool], int] = {}

    def write(self, root: Decision) -> list[Instruction]:
        """The instructions of a decision."""
        todo = [(root, False)]
        while todo:
            place = decision, loaded = todo[-1]
            if place in self._places:
                todo.pop()
            elif decision >= 0:
                self._add(place, (RETURN, 0, 0, decision))
            else:
                word, code, operand, yes, no = self._rows[~decision]
                targets = [self._place(way, word) for way in (yes, no)]
                # The last one comes to stand behind the test.
                missing = [target for target in reversed(targets) if target not in self._places]
                todo += missing
                if not missing:
                    self._bring_near(targets)
                    yes, no = [self._distance(target) for target in targets]
                    self._add((decision, True), (code, yes, no, operand))
                    if not loaded:
                        self._load(decision, word)
        return self._written[::-1]

    def _place(self, decision: Decision, word: Word) -> tuple[Decision, bool]:
        """Where to jump to for a decision if this word has been loaded."""
        return decision, decision < 0 and self._rows[~decision][0] == word

    def _add(self, place: tuple[Decision, bool], step: Instruction) -> None:
        self._written.append(step)
        self._places[place] = len(self._written)

    def _load(self, decision: Decision, word: Word) -> None:
        offset, mask = word
        if mask != WORD:
            self._written.append((AND, 0, 0, mask))
        self._add((decision, False), (LOAD, 0, 0, offset))

    def _distance(self, place: tuple[Decision, bool]) -> int:
        """The number of instructions to jump over, from the one that is written next."""
        return len(self._written) - self._places[place]

    def _bring_near(self, places: Sequence[tuple[Decision, bool]]) -> None:
        """Repeat a return, and put a jump before another decision, if it is too far for a test's jump."""
        while far := [place for place in places if self._distance(place) > FARTHEST]:
            decision, _ = place = far[0]
            if decision >= 0:
                self._add(place, (RETURN, 0, 0, decision))
            else:
                self._add(place, (JUMP, 0, 0, self._distance(place)))
