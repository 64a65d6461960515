"""The systemd cgroup manager: the container's cgroup is a transient scope, made by D-Bus calls. Cold.

The launcher hands a command that needs it over to the ordinary build.
"""
