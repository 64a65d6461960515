"""`kill --regex` and `delete --regex`, as in crun: for all containers whose id matches a regular expression. Cold."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence

from .. import log
from ..errors import PyruncError, from_os_error
from ..libcontainer import state
from ..libcontainer.lookup import missing

# The POSIX classes of regular expressions, which Python does not have. Ids are ASCII.
_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "digit": "0-9", "lower": "a-z", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


def each(root: str, patterns: Sequence[str], work: Callable[[str], None]) -> int:
    """Do the work for each container under the root whose id matches one of the patterns, in the order of ids. Returns
    0.

    A failure for one container is a warning, and the others follow: it may have stopped meanwhile. No match is no
    failure. Raises PyruncError for an invalid regular expression, and for a root that can't be read, before the first
    container.
    """
    expressions = [_compiled(pattern) for pattern in patterns]
    try:
        names = state.ids(root)
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
            if error.message != missing().message:  # the directory is not pyrunc's, or gone meanwhile
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
