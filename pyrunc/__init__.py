"""pyrunc: an OCI container runtime that compiles config.json to a launch plan and lets a small C init run it."""
