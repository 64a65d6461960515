"""`exec`: a further process in a container that is there."""
