/* The stage of an init that joins namespaces: csrc/native/clone.c starts it, join.c carries it out. */
#ifndef PYRUNC_JOIN_H
#define PYRUNC_JOIN_H

#include "../native/native.h"

enum { MAX_JOINS = 16 };

/* The environment variable of the stage: decimal numbers with spaces between them. First the descriptor for the report,
 * then the CLONE_NEW* flags of new namespaces, then descriptor and CLONE_NEW* type of each namespace to join. */
#define JOIN_VARIABLE "PYRUNC_JOIN="

/* What the stage reports before it ends. */
struct join_report {
    int pid;    /* the init, in the runtime's pid namespace; 0 on failure */
    int call;   /* enum pyrunc_call: what failed */
    int index;  /* for setns: which of the descriptors */
    int error;  /* its errno */
};

/* If the environment has the variable, joins the namespaces and returns in the process that goes on there. */
void join_namespaces(void);

#endif
