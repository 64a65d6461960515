"""The command line: its definition for click, and the fast reader of what engines send."""
