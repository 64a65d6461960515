"""The library behind the commands: specification, plan, launch, state and cgroups."""
