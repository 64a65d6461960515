"""The engines that start pyrunc: their configuration files, and a container through them (`pyrunc integrate`). Cold."""
