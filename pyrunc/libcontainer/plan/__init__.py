"""The launch plan: its step kinds, its form in memory and on the wire, and what else it is compiled from."""
