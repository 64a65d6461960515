"""Problems and hints: of configurations, hosts and failures."""
