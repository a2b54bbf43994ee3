/** Memory that the ranks of a host share, and a barrier of these ranks.
 *
 *  A domain is a set of ranks that share memory: those of one host, or a single rank
 *  where the host has too little of it (/dev/shm of a container). The segment is unlinked
 *  as soon as it is mapped, so nothing is left behind, however the ranks end. */
#ifndef DP_COMM_SHARED_H
#define DP_COMM_SHARED_H

#include "comm/comm.h"
#include <stddef.h>
#include <stdint.h>

typedef struct dp_shared {
    dp_comm *comm;
    int domains;    /* in the job */
    int *domain_of; /* [ranks]; domains are numbered by their lowest rank */
    int *member_of; /* [ranks] index in its domain */
    int members;    /* of this rank's domain */
    int *rank_of;   /* [members] */
    int me;         /* this rank's index in its domain */
    void *common;   /* the same memory for all members, zeroed; DP_ALIGN */
    /* [members] each member's own memory, readable and writable by all; zeroed */
    void **own;
    uint32_t phase;               /* barriers so far */
    struct dp_barrier_flag *flag; /* [members] the phase that each member has reached */
    void *map;
    size_t map_bytes;
} dp_shared;

/** `common` bytes once a domain (the same on every rank), and `own` bytes for this rank.
 *  Warns once where a host has too little shared memory and private copies are used.
 *  MPI: collective. Errors: DP_EINTERNAL, agreed.
 *  Owner: the caller; dp_shared_destroy */
dp_status dp_shared_create(dp_comm *comm, size_t common, size_t own, dp_shared **out);

/** MPI: local */
void dp_shared_destroy(dp_shared **shared);

/** A barrier of the domain: what members wrote before it is visible to all afterwards.
 *  MPI: collective over the domain, one thread */
void dp_shared_barrier(dp_shared *shared);

#endif
