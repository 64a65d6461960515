"""Carries a plan out: the runtime's steps, the making of the init, its requests, the undo ledger, the relay."""
