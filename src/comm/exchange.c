#include "comm/exchange.h"
#include "base/memory.h"
#include "comm_impl.h"
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct dp_exchange {
    dp_comm *comm;
    size_t *bound; /* [size+1] */
    bool tree;
    float *inbox; /* the partials of my slice from other ranks, one after the other */
    size_t inbox_parts;
    MPI_Request *request;
    int most_requests;
    dp_note *notes; /* [size] */
    float **value;  /* my slice of every partial of the batch, in the tree's order */
    int *merges;    /* merges that follow each of them */
    int nvalues;
    int most_values;
    int *count, *start; /* [size] each: arguments of the allgathers */
};

dp_status dp_exchange_create(dp_comm *comm, size_t floats, const size_t *bound, bool tree,
                             dp_exchange **out) {
    assert(bound[0] == 0 && bound[comm->size] == floats);
    assert(floats <= INT_MAX);
    dp_exchange *ex = calloc(1, sizeof *ex);
    size_t ranks = (size_t)comm->size;
    if (ex) {
        ex->comm = comm;
        ex->tree = tree;
        ex->bound = malloc((ranks + 1) * sizeof *bound);
        ex->notes = calloc(ranks, sizeof *ex->notes);
        ex->count = calloc(ranks, sizeof *ex->count);
        ex->start = calloc(ranks, sizeof *ex->start);
    }
    if (!ex || !ex->bound || !ex->notes || !ex->count || !ex->start) {
        dp_exchange_destroy(&ex);
        return dp_fail(DP_EINTERNAL, "out of memory for the exchange of %zu ranks",
                       ranks);
    }
    memcpy(ex->bound, bound, (ranks + 1) * sizeof *bound);
    *out = ex;
    return DP_OK;
}

void dp_exchange_destroy(dp_exchange **exchange) {
    dp_exchange *ex = *exchange;
    if (ex) {
        free(ex->bound);
        free(ex->notes);
        free(ex->request);
        free(ex->value);
        free(ex->merges);
        free(ex->count);
        free(ex->start);
        dp_memory_free(&ex->inbox);
        free(ex);
    }
    *exchange = NULL;
}

static size_t slice(const dp_exchange *ex, int rank) {
    return ex->bound[rank + 1] - ex->bound[rank];
}

/* Room for a batch with `parts` partials in all, of which `mine` are here. Grows in the
 * first steps only. */
static void reserve(dp_exchange *ex, int parts, int mine) {
    dp_comm *comm = ex->comm;
    int requests = parts + mine * comm->size;
    if ((size_t)(parts - mine) > ex->inbox_parts) {
        dp_memory_free(&ex->inbox);
        void *p = NULL;
        size_t floats = (size_t)(parts - mine) * slice(ex, comm->rank);
        if (dp_memory_alloc(floats, sizeof(float), &p) != DP_OK) {
            dp_comm_abort(comm, DP_EINTERNAL, dp_status_message());
        }
        ex->inbox = p;
        ex->inbox_parts = (size_t)(parts - mine);
    }
    if (requests > ex->most_requests || parts > ex->most_values) {
        ex->most_requests = requests;
        ex->most_values = parts;
        ex->request = realloc(ex->request, (size_t)requests * sizeof *ex->request);
        ex->value = realloc(ex->value, (size_t)parts * sizeof *ex->value);
        ex->merges = realloc(ex->merges, (size_t)parts * sizeof *ex->merges);
        if (!ex->request || !ex->value || !ex->merges) {
            dp_comm_abort(comm, DP_EINTERNAL, "out of memory in the exchange");
        }
    }
}

/* Every rank's partials of my slice to me, mine of theirs to them. Who has which nodes
 * follows from the number of blocks alone, so nothing is negotiated. */
static void scatter(dp_exchange *ex, int blocks, float *const *part) {
    dp_comm *comm = ex->comm;
    int counts[2] = {0, dp_tree_share(blocks, comm->size, comm->rank, INT_MAX, NULL)};
    for (int r = 0; r < comm->size; r++) {
        counts[0] += dp_tree_share(blocks, comm->size, r, INT_MAX, NULL);
    }
    reserve(ex, counts[0], counts[1]);
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    size_t mine = slice(ex, comm->rank);
    float *inbox = ex->inbox;
    int requests = 0;
    ex->nvalues = 0;
    for (int r = 0; r < comm->size; r++) {
        dp_node node[DP_PARTS];
        int n = dp_tree_share(blocks, comm->size, r, INT_MAX, node);
        for (int k = 0; k < n; k++) {
            ex->merges[ex->nvalues] = dp_tree_push(&walk, node[k]);
            if (r == comm->rank) {
                ex->value[ex->nvalues++] = part[k] + ex->bound[r];
                continue;
            }
            MPI_Irecv(inbox, (int)mine, MPI_FLOAT, r, k, comm->world,
                      &ex->request[requests++]);
            ex->value[ex->nvalues++] = inbox;
            inbox += mine;
        }
    }
    for (int d = 1; d < comm->size; d++) {
        int r = (comm->rank + d) % comm->size;
        for (int k = 0; k < counts[1]; k++) {
            MPI_Isend(part[k] + ex->bound[r], (int)slice(ex, r), MPI_FLOAT, r, k,
                      comm->world, &ex->request[requests++]);
        }
    }
    MPI_Waitall(requests, ex->request, MPI_STATUSES_IGNORE);
}

/* allreduce = mpi: the rank's partials are added here, and the ranks' sums by MPI. */
static void plain(dp_exchange *ex, int blocks, float *const *part) {
    dp_comm *comm = ex->comm;
    size_t floats = ex->bound[comm->size];
    int mine = dp_tree_share(blocks, comm->size, comm->rank, INT_MAX, NULL);
    reserve(ex, 1, 1);
    float *sum = part[0];
    if (mine == 0) {
        memset(sum, 0, floats * sizeof *sum);
    }
    for (int k = 1; k < mine; k++) {
        for (size_t i = 0; i < floats; i++) {
            sum[i] += part[k][i];
        }
    }
    MPI_Request request;
    MPI_Iallreduce(MPI_IN_PLACE, sum, (int)floats, MPI_FLOAT, MPI_SUM, comm->world,
                   &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    ex->value[0] = sum + ex->bound[comm->rank];
    ex->merges[0] = 0;
    ex->nvalues = 1;
}

/* The batch's loss along the tree over all ranks' nodes. */
static double add_notes(dp_exchange *ex, int blocks, dp_note *note) {
    dp_comm *comm = ex->comm;
    MPI_Allgather(note, sizeof *note, MPI_BYTE, ex->notes, sizeof *note, MPI_BYTE,
                  comm->world);
    double stack[DP_TREE_DEPTH * 4] = {0};
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    note->stop = 0;
    for (int r = 0; r < comm->size; r++) {
        dp_node node[DP_PARTS];
        int n = dp_tree_share(blocks, comm->size, r, INT_MAX, node);
        for (int k = 0; k < n; k++) {
            stack[walk.depth] = ex->notes[r].loss[k];
            int top = walk.depth;
            for (int m = dp_tree_push(&walk, node[k]); m > 0; m--, top--) {
                stack[top - 1] += stack[top];
            }
        }
        note->stop += ex->notes[r].stop;
    }
    assert(walk.depth == 1);
    return stack[0];
}

double dp_exchange_reduce(dp_exchange *ex, int blocks, float *const *part,
                          dp_note *note) {
    if (ex->tree) {
        scatter(ex, blocks, part);
    } else {
        plain(ex, blocks, part);
    }
    return add_notes(ex, blocks, note);
}

const float *dp_exchange_sum(dp_exchange *ex, size_t begin, size_t end) {
    size_t offset = begin - ex->bound[ex->comm->rank], n = end - begin;
    float *stack[DP_TREE_DEPTH * 4];
    int depth = 0;
    for (int v = 0; v < ex->nvalues; v++) {
        stack[depth++] = ex->value[v] + offset;
        for (int m = ex->merges[v]; m > 0; m--, depth--) {
            float *left = stack[depth - 2];
            const float *right = stack[depth - 1];
            for (size_t i = 0; i < n; i++) {
                left[i] += right[i];
            }
        }
    }
    assert(depth == 1);
    return stack[0];
}

void dp_exchange_gather(dp_exchange *ex, float *slab, const int *extra_bound,
                        double *extra) {
    dp_comm *comm = ex->comm;
    if (comm->size == 1) {
        return;
    }
    if (slab) {
        for (int r = 0; r < comm->size; r++) {
            ex->count[r] = (int)slice(ex, r);
            ex->start[r] = (int)ex->bound[r];
        }
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, slab, ex->count, ex->start,
                       MPI_FLOAT, comm->world);
    }
    if (extra) {
        for (int r = 0; r < comm->size; r++) {
            ex->count[r] = extra_bound[r + 1] - extra_bound[r];
            ex->start[r] = extra_bound[r];
        }
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, extra, ex->count, ex->start,
                       MPI_DOUBLE, comm->world);
    }
}
