"""The cffi module of libseccomp (generate/seccomp_build.py): cffi checks the types of its calls at run time."""

from typing import Any

ffi: Any
lib: Any
