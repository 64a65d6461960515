"""The installed command: CPython embedded, and what freezes the modules into it (README.md)."""
