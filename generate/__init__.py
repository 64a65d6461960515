"""Generators that run at build time. Each writes C or Python from the one definition of a thing."""
