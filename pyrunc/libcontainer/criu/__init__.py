"""Checkpoint and restore by CRIU and its RPC (https://criu.org/RPC). Cold."""
