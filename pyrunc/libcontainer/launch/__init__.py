"""Carries a plan out: the runtime's steps, the init's birth, its requests, the undo ledger, the relay."""
