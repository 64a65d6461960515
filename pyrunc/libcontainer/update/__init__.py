"""`update`: change limits, mounts and devices of a running container, all or none."""
