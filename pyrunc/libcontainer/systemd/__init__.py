"""The systemd cgroup manager: the container's cgroup as a transient scope, asked for over D-Bus. Cold.

The launcher has none of it: a command that comes to need it is handed over to the ordinary build.
"""
