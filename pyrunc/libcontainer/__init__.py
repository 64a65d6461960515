"""The library behind the commands: specification, plan, launch, state and cgroups."""

# The version of the runtime specification that this runtime follows.
SPEC_VERSION = "1.3.0"
