"""Checkpoint and restore by CRIU, which is driven by its RPC (https://criu.org/RPC). Cold."""
