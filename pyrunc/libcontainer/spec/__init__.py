"""config.json: read it, validate it, check it, and explain what is wrong with it."""
