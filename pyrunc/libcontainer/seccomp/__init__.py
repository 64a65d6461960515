"""linux.seccomp: the filter's compiler and its cache, the checks of the profile, and the listener, which is sent to its
agent."""
