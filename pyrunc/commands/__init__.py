"""What the commands do, apart from how their words are parsed: one handler a command."""
