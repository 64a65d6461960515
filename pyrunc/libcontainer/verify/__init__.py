"""`verify`: compare a running container with its plan. Cold.

`expected` compiles the plan again from the state directory. `look` and `processfiles` inspect the container from
outside. The modules whose names end in `checks` compare the two. Nothing in the container is executed or changed.
"""
