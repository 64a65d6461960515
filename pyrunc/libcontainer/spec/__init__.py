"""config.json: read, validated, checked; what is said about it."""
