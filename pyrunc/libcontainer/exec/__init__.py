"""`exec`: another process in an existing container."""
