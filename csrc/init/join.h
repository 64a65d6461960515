/* The stage of an init that enters the namespaces of others; csrc/native/clone.c starts it, join.c carries it out. */
#ifndef PYRUNC_JOIN_H
#define PYRUNC_JOIN_H

#include "../native/native.h"

enum { MAX_JOINS = 16 };

/* The environment variable that asks for the stage: decimal numbers with a space between, first the descriptor to
 * report to, then the CLONE_NEW* flags of new namespaces, then descriptor and CLONE_NEW* type of each to be joined. */
#define JOIN_VARIABLE "PYRUNC_JOIN="

/* What the stage reports before it ends. */
struct join_report {
    int pid;    /* the init, in the runtime's pid namespace; 0 on failure */
    int call;   /* enum pyrunc_call: what failed */
    int index;  /* for setns: which of the descriptors */
    int error;  /* its errno */
};

/* Where the environment asks for it: enters the namespaces and returns in the process that goes on there. */
void join_namespaces(void);

#endif
