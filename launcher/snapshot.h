/* The interpreter as it is once all modules are imported, made when the launcher is built: see snapshot.c. */
#ifndef PYRUNC_SNAPSHOT_H
#define PYRUNC_SNAPSHOT_H

#include <stdbool.h>

/* Whether this program has its snapshot, so that no interpreter is to be started. */
bool snapshot_is_made(void);

/* Before the interpreter is started to make a snapshot of: its memory is to come from the program's section. */
void snapshot_prepare(void);

/* Write the section's bytes to standard output, as those of a program that has its snapshot. Does not return. */
_Noreturn void snapshot_write(void);

/* Make this process the interpreter's own. words: the arguments of the command line, up to a NULL. -1 with an exception
 * set on failure. */
int snapshot_wake(char *const *words);

#endif
