"""What runs at build time: it writes C and Python from the one definition of each thing."""
