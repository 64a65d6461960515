"""`update`: other limits for a running container, all of them or none."""
