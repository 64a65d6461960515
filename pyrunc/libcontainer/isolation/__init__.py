"""`--isolation sandbox`: a configuration is changed before it is compiled, so that the plan shows all of it.

`sandbox.py` changes the configuration, and a process of `exec`; it is pure. `calls.py` has the seccomp profile.
`apply.py` reads what the change depends on: the profile's file and the ranges of subordinate ids. docs/isolation.md has
the whole in a table.
"""
