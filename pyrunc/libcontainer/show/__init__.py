"""`pyrunc plan`: a plan for people, as tree, table, difference and timeline. Cold."""
