/* libFuzzer target: encode.c encodes and refuses what tests/support/wire.py does, for any steps. */
#define FUZZ_SUPPORT "wire"
#define FUZZ_OBJECT "_wire.encode"
#include "fuzz.h"
