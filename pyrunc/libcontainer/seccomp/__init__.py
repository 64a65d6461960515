"""linux.seccomp: the filter's compiler and its cache, the checks of the profile, the listener's way to its agent."""
