"""The compiler: a validated configuration, the facts of the host and the command's options become a LaunchPlan.

Pure: no system call, the same inputs always give the same plan. docs/architecture.md tells the plan's form;
`pyrunc plan` prints it. launch.py makes the plan of a container, exec.py that of a further process of one.
"""
