"""`python -m pyrunc.shim`, the ordinary build of containerd-shim-pyrunc-v2."""

from .main import run

run()
