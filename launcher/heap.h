/* The heap of the snapshot: see heap.c. */
#ifndef PYRUNC_HEAP_H
#define PYRUNC_HEAP_H

#include <stdbool.h>
#include <stddef.h>

/* From here on, and until heap_end, malloc and its kin take memory from the heap. Reads the order of the blocks from
 * standard input. */
void heap_begin(void);

/* From here on malloc and its kin are the C library's. Blocks of the heap stay where they are. */
void heap_end(void);

/* Whether this is a block of the heap that has no place in the order: no command is known to use it. */
bool heap_is_unused(const void *block);

#ifdef PYRUNC_WATCH
/* Write each first read of a block, and each first write to it, to the descriptor HEAP_WATCH (heap.c), if it is open. */
void heap_watch(void);

/* Write there which blocks are not as they were in the beginning. */
void heap_tell_changes(void);
#endif

#endif
