"""One handler for each command. cli/ parses the command line."""
