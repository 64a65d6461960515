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

/* The commands whose pages are known, pages.py's SETS: all of them; those of a container that there is; those that start a
 * process. */
enum snapshot_set { SNAPSHOT_EVERY, SNAPSHOT_CONTAINER, SNAPSHOT_LAUNCH, SNAPSHOT_SETS };

/* Copy the pages that commands of a set write to, which is faster than having each of them copied when it is. */
void snapshot_copy_pages(enum snapshot_set set);

/* Make this process the interpreter's own. -1 with an exception set on failure. */
int snapshot_wake(void);

#endif
