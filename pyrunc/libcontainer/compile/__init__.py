"""The compiler: it makes a LaunchPlan from a validated configuration, the facts of the host and the options.

It is pure: it makes no system call, and the same inputs give the same plan. docs/architecture.md has the form of plans;
`pyrunc plan` prints them. launch.py makes the plan of a container, exec.py that of another process in a container.
"""
