"""The command line: its definition for click, and the fast reader for the commands of engines."""
