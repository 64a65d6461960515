"""The compiler's arguments for the cffi modules. cffi's own code has parameters that it does not use."""

COMPILE_ARGS = [
    "-std=gnu11",
    "-O2",
    "-fstack-protector-strong",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
]
