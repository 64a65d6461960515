/* The interpreter in the state after all imports, made when the launcher is built: see snapshot.c. */
#ifndef PYRUNC_SNAPSHOT_H
#define PYRUNC_SNAPSHOT_H

#include <stdbool.h>

/* Whether this program has its snapshot, so that it need not start an interpreter. */
bool snapshot_is_made(void);

/* Prepare a snapshot, before the interpreter starts: from here on, memory comes from the program's section. */
void snapshot_prepare(void);

/* Write the section's bytes to standard output, in the form of a program that has its snapshot, and exit. In a program
 * that watches the heap (heap.c), return instead; it goes on as if it had its snapshot. */
void snapshot_write(void);

/* Make the interpreter of the snapshot that of this process. words: the arguments of the command line, ended by NULL.
 * Returns -1 with an exception set on failure. */
int snapshot_wake(char *const *words);

/* Give back memory that is not needed: what malloc has free, and copies of the snapshot's pages that have become equal
 * to the program's file again, as they do when the references to an object are dropped. The process has one thread. */
void snapshot_rest(void);

#endif
