"""The installed command, the launcher, for tests that count what it costs."""

from __future__ import annotations

import os

from tests.support.runtime import REPOSITORY, Runtime

_LAUNCHER = REPOSITORY / "build/launcher/pyrunc"


def _is_built() -> bool:
    """Whether there is a launcher with a snapshot that is not older than its sources."""
    if not _LAUNCHER.exists() or not _LAUNCHER.with_name("pyrunc.section").exists():
        return False
    sources = [*REPOSITORY.glob("pyrunc/**/*.py"), *REPOSITORY.glob("csrc/*/*.[ch]"), *REPOSITORY.glob("launcher/*.*")]
    return _LAUNCHER.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


def launcher_of(runtime: Runtime) -> list[str]:
    """The launcher's command: the one under test, or an up-to-date build with a snapshot. Empty without either."""
    if os.environ.get("PYRUNC_TEST_RUNTIME"):
        return runtime.command
    return [str(_LAUNCHER)] if _is_built() else []
