"""containerd-shim-pyrunc-v2, the shim between containerd and pyrunc: one thread, one loop (docs/shim.md)."""
