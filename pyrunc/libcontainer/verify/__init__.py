"""`verify`: a living container against its plan. Cold.

`expected` compiles the plan anew from what the state directory keeps, `look` and `processfiles` see the container from
outside, and the modules whose names end in `checks` compare the two. Nothing in the container is executed or changed.
"""
