"""The cffi module (csrc/native), for the type checker: cffi checks the types of its calls at run time."""

from typing import Any

ffi: Any
lib: Any
