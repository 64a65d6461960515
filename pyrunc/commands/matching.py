"""`kill --regex` and `delete --regex`, as crun has them: a command for all containers in whose id a regular expression
is found. Cold: it imports re."""

from __future__ import annotations

import posix
import re
import warnings
from collections.abc import Callable, Sequence

from .. import log
from ..errors import PyruncError, from_os_error
from ..libcontainer import state
from ..libcontainer.lookup import missing

# The classes of POSIX's regular expressions, which Python's have not, for ids, which are ASCII.
_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "digit": "0-9", "lower": "a-z", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


def each(root: str, patterns: Sequence[str], work: Callable[[str], None]) -> int:
    """Do the work for each container under the root whose id matches one of the patterns, by id; returns exit code 0.

    What fails for one of them is a warning, and the others have their turn: that a container has stopped meanwhile is
    no failure of the command. No match is no failure either. Raises PyruncError for a pattern that is no regular
    expression, and for a root that can't be read, before the work is done for any.
    """
    expressions = [_compiled(pattern) for pattern in patterns]
    try:
        names = sorted(name for name in posix.listdir(root) if state.is_id(name))
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise PyruncError(f"can't list the containers in {root}", errno=error.errno or 0) from error
    for name in names:
        if not any(expression.search(name) for expression in expressions):
            continue
        try:
            work(name)
        except PyruncError as error:
            if error.message != missing().message:  # a directory that is none of ours, or gone meanwhile
                log.warning(f"container {name}: {error.line()}")
        except OSError as error:
            log.warning(f"container {name}: {from_os_error(error).line()}")
    return 0


def _compiled(pattern: str) -> re.Pattern[str]:
    text = pattern
    for name, signs in _CLASSES.items():
        text = text.replace(f"[:{name}:]", signs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise PyruncError(f"invalid regular expression {pattern}: {error}") from error
