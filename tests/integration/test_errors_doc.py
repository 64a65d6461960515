"""docs/errors.md: the messages for the mistakes of tests/support/mistakes.py, on one line and at a terminal (N6, N7).

`make errors-doc` writes the page anew; look at the difference before committing it.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import BASE, Bundle
from tests.support.mistakes import BUNDLES, MISTAKES, Mistake, changes
from tests.support.rootless import RootlessRuntime
from tests.support.runtime import REPOSITORY, Runtime
from tests.support.terminals import read_until

pytestmark = pytest.mark.own("the words are pyrunc's")

PAGE = REPOSITORY / "docs/errors.md"
WRITES = bool(os.environ.get("PYRUNC_ERRORS_DOC"))

INTRODUCTION = """\
# Error messages

`make errors-doc` writes this page, and `tests/integration/test_errors_doc.py` compares it with what the command
prints. For each mistake the page shows the input, the line that engines, pipes and logs get, and what a terminal
shows. BUNDLE, ROOT and DIR stand for directories, ID and BOX for the ids of a new and of a running container, N for a
number of the host.
"""


@pytest.fixture(scope="module")
def written() -> Iterator[dict[str, str]]:
    """The page's entries by title. With PYRUNC_ERRORS_DOC, the entries that the tests put in become the page."""
    before = entries(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    made = dict(before)
    yield made
    if WRITES:
        rest = [made[mistake.title] for mistake in MISTAKES if mistake.title in made]
        PAGE.write_text(INTRODUCTION + "\n" + "\n".join(rest), encoding="utf-8")


def entries(page: str) -> dict[str, str]:
    """The page's entries by their titles, each with its heading."""
    found = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0].removeprefix("## "): part.rstrip("\n") + "\n" for part in found}


class Scene:
    """A prepared mistake: the bundle, the ids, the words of the command."""

    def __init__(self, runtime: Runtime, mistake: Mistake) -> None:
        self.runtime = runtime
        self.bundle = runtime.bundle()
        self.box = ""
        words = shlex.split(mistake.words)
        if any("BO" in word for word in words):
            other = runtime.bundle("box")
            self.box = runtime.started(other.args("sleep", "1000")).id
        (runtime.work / "dir").mkdir()
        self.input = "pyrunc " + mistake.words.replace(" B/", " BUNDLE/").replace(" B ", " BUNDLE ").replace(
            " W/", " DIR/"
        )
        self.id = runtime.new_id()
        if mistake.edit is not None:
            mistake.edit(self.bundle)
            self.input = self._changed() if mistake in BUNDLES else f"{self.input}, {self._changed()}"
        self.bundle.write()
        names = {"B": str(self.bundle.path), "ID": self.id, "BOX": self.box, "W": str(runtime.work / "dir")}
        names["BO"] = self.box[:-1]
        self.words = [self._word(word, names) for word in words]

    def _word(self, word: str, names: dict[str, str]) -> str:
        first, slash, rest = word.partition("/")
        return names[first] + slash + rest if first in ("B", "W") else names.get(word, word)

    def _changed(self) -> str:
        policies = self.bundle.path / "broker.json"
        if policies.exists():
            return "broker.json: " + policies.read_text()
        for other in self.bundle.path.glob("*.json"):
            if other.name != "config.json":
                return f"config.json is named {other.name}"
        path = self.bundle.path / "config.json"
        if path.exists():  # the mistake made it a text that is not JSON
            good = json.dumps(self.bundle.config, indent=1).split("\n")
            bad = path.read_bytes().decode("utf-8", "replace").split("\n")
            for number, line in enumerate(bad):
                if line != good[min(number, len(good) - 1)]:
                    shown = "".join([char if char.isprintable() else "?" for char in line.strip()])[:60]
                    return f"config.json, line {number + 1}: {shown}" if shown else "config.json is empty"
        return "; ".join(changes(BASE, self.bundle.config)) or "the files of the rootfs"

    def readable(self, text: str) -> str:
        """A text with placeholders for parts that differ from run to run and from host to host."""
        for value, name in (
            (self.box, "BOX"), (self.id, "ID"), (str(self.bundle.path), "BUNDLE"), (str(self.runtime.root), "ROOT"),
            (str(self.runtime.work / "dir"), "DIR"), (self.box[:-1], "BO"),
        ):  # fmt: skip
            if value:
                text = text.replace(value, name)
        text = re.sub(r"at most \d{4,}", "at most N", text)
        text = re.sub(r"after \d+\.\d{3} s, stdout", "after N s, stdout", text)
        return re.sub(r"own hard limit is \d+", "own hard limit is N", text)

    def one_line(self) -> tuple[int, str]:
        """The exit code, and the message in the form of a log."""
        result = self.runtime("--log-format", "json", *self.words)
        return result.code, self.readable(json.loads(result.err.strip().split("\n")[-1])["msg"])

    def on_terminal(self) -> str:
        """The output at a terminal, without warnings."""
        master, slave = os.openpty()
        process = subprocess.Popen(
            self.runtime.argv(*self.words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=slave,
            env=self.runtime.environment({"NO_COLOR": "1"}),
            cwd=self.runtime.work,
        )
        os.close(slave)
        said = read_until(master, lambda text: False).decode().replace("\r\n", "\n")
        process.wait()
        os.close(master)
        lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
        return self.readable("\n".join(lines))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)
def test_n6_what_is_said(runtime: Runtime, written: dict[str, str], mistake: Mistake) -> None:
    if not mistake.host():
        pytest.skip("this host has what the case is to lack")
    scene = Scene(runtime, mistake)
    code, line = scene.one_line()
    assert code != 0
    assert "\n" not in line
    assert mistake.says in line
    shown = scene.on_terminal()
    assert shown.startswith("error: ")
    assert "Traceback" not in shown
    assert len(shown.splitlines()) <= 5
    block = "\n".join("    " + text for text in shown.splitlines())
    entry = f"## {mistake.title}\n\n`{scene.input}`\n\n    {line}\n\n{block}\n"
    if WRITES:
        written[mistake.title] = entry
    assert entry == written.get(mistake.title), "the page says something else: make errors-doc"


def test_the_page_has_every_mistake_and_no_other() -> None:
    if WRITES:
        pytest.skip("it is being written")
    titles = [mistake.title for mistake in MISTAKES]
    assert len(titles) == len(set(titles)) >= 60
    page = PAGE.read_text(encoding="utf-8")
    assert page.startswith(INTRODUCTION)
    assert list(entries(page)) == titles


def verdicts(runtime: Runtime, bundle: Bundle) -> tuple[int, int]:
    """The exit codes of validate and plan."""
    return runtime("validate", bundle.path).code, runtime("plan", "--bundle", bundle.path).code


@pytest.mark.parametrize("mistake", BUNDLES, ids=lambda mistake: mistake.title)
def test_n4_validate_and_plan_find_what_run_refuses(runtime: Runtime, mistake: Mistake) -> None:
    if not mistake.host():
        pytest.skip("this host has what the case is to lack")
    scene = Scene(runtime, mistake)
    assert runtime(*scene.words).code != 0
    assert verdicts(runtime, scene.bundle) == ((1, 1) if mistake.foreseen is True else (0, 0))


def test_n4_a_good_bundle_is_good_for_all_three(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config = copy.deepcopy(BASE)
    runtime.run(bundle)
    assert verdicts(runtime, bundle) == (0, 0)
    assert "fails:" not in runtime("plan", "--bundle", bundle.path).out


def test_n4_plan_marks_the_step(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "bind", "/no/such/source", "bind").write()
    lines = runtime("plan", "--bundle", bundle.path).out.splitlines()
    (number,) = [number for number, line in enumerate(lines) if "fails:" in line]
    assert " bind " in lines[number - 1]
    assert "/mounts/3/source" in lines[number]
    value = json.loads(runtime("plan", "--bundle", bundle.path, "--format", "json").out)
    (problem,) = value["problems"]
    assert value["steps"][problem["step"] - 1]["kind"] == "bind"


def test_n4_the_specification_alone(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "bind", "/no/such/source", "bind").args("nothing").write()
    assert runtime("validate", bundle.path).code == 1
    assert runtime("validate", "--spec-only", bundle.path).code == 0


def test_n6_a_log_and_a_pipe_get_one_line(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """Only a terminal without --log gets the three lines: here stderr is a terminal, and there is a log."""
    bundle.args("nothing").write()
    master, slave = os.openpty()
    log = runtime.work / "log.json"
    command = runtime.argv("--log", log, "--log-format", "json", "run", "-b", bundle.path, runtime.new_id())
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stderr=slave, env=runtime.environment())
    os.close(slave)
    said = read_until(master, lambda text: False).decode().splitlines()
    os.close(master)
    assert said == [json.loads(log.read_text().splitlines()[-1])["msg"]]


def test_n6_a_list_that_may_not_be_made_tells_whose_the_root_is(rootless: RootlessRuntime) -> None:
    root = rootless.work / "of-root"
    root.mkdir(mode=0o700)
    result = rootless("--root", root, "list", with_root=False)
    assert result.code == 1
    assert f"can't list the containers in {root}: permission denied (it belongs to another user" in result.last_line
