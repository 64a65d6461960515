/* libFuzzer target: record.c accepts the states that pyrunc/libcontainer/state.py accepts by its table, for any members,
 * and makes records of them. */
#define FUZZ_SUPPORT "damage"
#define FUZZ_OBJECT "_wire"
#include "fuzz.h"
