"""The launch plan: its step kinds, its form in memory and on the wire, and the compiler's other inputs."""
