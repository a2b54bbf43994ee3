#include "comm/exchange.h"
#include "base/memory.h"
#include "comm_impl.h"
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A partial sum of this rank's slice: a node of the tree and where its floats are. */
typedef struct value {
    dp_node node;
    float *slice;
} value;

struct dp_exchange {
    dp_shared *shared;
    size_t floats;
    bool tree;
    const size_t *bound; /* [ranks+1] of what is exchanged; owner: the caller */
    dp_note *notes;      /* [ranks] of the step */
    dp_node (
        *nodes)[DP_PARTS]; /* [ranks] which nodes each rank has in a batch of `blocks` */
    int *counts;           /* [ranks] how many */
    int blocks;            /* of the batch that nodes and counts are for */
    value *values;         /* of my slice, in the tree's order */
    int nvalues;
    int *merges; /* that follow each value */
    float *inbox;
    size_t inbox_floats;
    MPI_Request *request;
    int requests, most_requests;
    int *
        speaks; /* [ranks] the member of my domain that speaks for it with rank r elsewhere */
    int *peer; /* [domains] the member of domain d that speaks for it with me */
};

enum {
    NOTE_BYTES = (sizeof(dp_note) + DP_ALIGN - 1) / DP_ALIGN * DP_ALIGN,
    TAG_NOTE = 1 << 14
};

size_t dp_exchange_own_bytes(size_t floats, int slabs) {
    return NOTE_BYTES + (size_t)slabs * floats * sizeof(float);
}

static float *slab_of(const dp_exchange *ex, int member, int k) {
    return (float *)((char *)ex->shared->own[member] + NOTE_BYTES) +
           (size_t)k * ex->floats;
}

float *dp_exchange_slab(const dp_exchange *ex, int k) {
    return slab_of(ex, ex->shared->me, k);
}

/* The member of domain `domain` that speaks for it with rank `rank` of another one. */
static int agent(const dp_shared *s, int domain, int rank) {
    int size = 0, found = -1;
    for (int r = 0; r < s->comm->size; r++) {
        size += s->domain_of[r] == domain;
    }
    int wanted = s->member_of[rank] % size;
    for (int r = 0; r < s->comm->size && found < 0; r++) {
        if (s->domain_of[r] == domain && s->member_of[r] == wanted) {
            found = r;
        }
    }
    return found;
}

dp_exchange *dp_exchange_create(dp_shared *shared, size_t floats, bool tree) {
    size_t ranks = (size_t)shared->comm->size;
    assert(floats <= INT_MAX && floats % 16 == 0);
    dp_exchange *ex = dp_alloc(1, sizeof *ex);
    ex->shared = shared;
    ex->floats = floats;
    ex->tree = tree;
    ex->notes = dp_alloc(ranks, sizeof *ex->notes);
    ex->nodes = dp_alloc(ranks, sizeof *ex->nodes);
    ex->counts = dp_alloc(ranks, sizeof *ex->counts);
    ex->values = dp_alloc(ranks * DP_PARTS, sizeof *ex->values);
    ex->merges = dp_alloc(ranks * DP_PARTS, sizeof *ex->merges);
    ex->speaks = dp_alloc(ranks, sizeof *ex->speaks);
    ex->peer = dp_alloc((size_t)shared->domains, sizeof *ex->peer);
    int rank = shared->comm->rank;
    for (int r = 0; r < shared->comm->size; r++) {
        ex->speaks[r] = agent(shared, shared->domain_of[rank], r);
    }
    for (int d = 0; d < shared->domains; d++) {
        ex->peer[d] = agent(shared, d, rank);
    }
    return ex;
}

void dp_exchange_destroy(dp_exchange **exchange) {
    dp_exchange *ex = *exchange;
    if (ex) {
        free(ex->notes);
        free(ex->nodes);
        free(ex->counts);
        free(ex->values);
        free(ex->merges);
        free(ex->speaks);
        free(ex->peer);
        free(ex->request);
        dp_memory_free(&ex->inbox);
        free(ex);
    }
    *exchange = NULL;
}

static size_t slice_of(const dp_exchange *ex, int rank) {
    return ex->bound[rank + 1] - ex->bound[rank];
}

/* Who has which nodes follows from the number of blocks alone: nothing is negotiated. */
static void deal(dp_exchange *ex, int blocks) {
    if (ex->blocks == blocks) {
        return;
    }
    int ranks = ex->shared->comm->size;
    for (int r = 0; r < ranks; r++) {
        ex->counts[r] = dp_tree_share(blocks, ranks, r, INT_MAX, NULL);
        assert(ex->counts[r] <= DP_PARTS);
        dp_tree_share(blocks, ranks, r, INT_MAX, ex->nodes[r]);
    }
    ex->blocks = blocks;
}

static void post(dp_exchange *ex, bool send, char *data, size_t bytes, int peer,
                 int tag) {
    /* Pieces that MPI sends without asking the receiver first: nobody need be awake for it. Long
     * messages have larger ones, in a number that hides the asking. MPI counts are int. */
    enum { EAGER = 60 << 10, PIECES = 64, LARGEST = 1 << 30 };
    size_t most = bytes / PIECES < EAGER ? EAGER : bytes / PIECES;
    most = most < LARGEST ? most : LARGEST;
    MPI_Comm world = ex->shared->comm->world;
    while (bytes > 0) {
        if (ex->requests == ex->most_requests) {
            ex->most_requests = 2 * ex->most_requests + 64;
            size_t n = (size_t)ex->most_requests;
            ex->request = dp_realloc(ex->request, n, sizeof *ex->request);
        }
        MPI_Request *request = &ex->request[ex->requests++];
        int n = (int)(bytes < most ? bytes : most);
        if (send) {
            MPI_Isend(data, n, MPI_BYTE, peer, tag, world, request);
        } else {
            MPI_Irecv(data, n, MPI_BYTE, peer, tag, world, request);
        }
        data += n;
        bytes -= (size_t)n;
    }
}

static void complete(dp_exchange *ex) {
    dp_comm_wait_all(ex->shared->comm, ex->requests, ex->request,
                     "the gradients' exchange");
    ex->requests = 0;
}

/* The partials that a domain is left with when all siblings among its own are merged: in `left`,
 * their number is returned. In my own domain the floats [at, at + n) of the slabs are merged too,
 * and left[].slice is where they are. */
static int merge_domain(const dp_exchange *ex, int domain, size_t at, size_t n,
                        value *left) {
    const dp_shared *s = ex->shared;
    bool mine = domain == s->domain_of[s->comm->rank];
    dp_tree_walk walk;
    dp_tree_begin(&walk, ex->blocks);
    for (int r = 0; r < s->comm->size; r++) {
        for (int k = 0; s->domain_of[r] == domain && k < ex->counts[r]; k++) {
            int top = walk.depth;
            left[top].slice = mine ? slab_of(ex, s->member_of[r], k) + at : NULL;
            for (int m = dp_tree_push(&walk, ex->nodes[r][k]); m > 0; m--, top--) {
                dp_tree_add(left[top - 1].slice, left[top].slice, mine ? n : 0);
            }
            assert(walk.depth < DP_TREE_DEPTH * 4);
        }
    }
    for (int v = 0; v < walk.depth; v++) {
        left[v].node = walk.node[v];
    }
    return walk.depth;
}

static int by_node(const void *a, const void *b) {
    const value *x = a, *y = b;
    return (x->node.a > y->node.a) - (x->node.a < y->node.a);
}

/* My domain's merged partials of the slices that I speak for to their owners elsewhere, and those
 * of my slice from the other domains. */
static void trade(dp_exchange *ex, bool notes) {
    const dp_shared *s = ex->shared;
    int rank = s->comm->rank, mine = s->domain_of[rank];
    value left[DP_TREE_DEPTH * 4];
    size_t slice = slice_of(ex, rank), expected = 0;
    for (int d = 0; d < s->domains; d++) {
        expected += d != mine ? (size_t)merge_domain(ex, d, 0, 0, left) : 0;
    }
    if (expected * slice > ex->inbox_floats) {
        dp_memory_free(&ex->inbox);
        void *p = NULL;
        if (dp_memory_alloc(expected * slice, sizeof(float), &p) != DP_OK) {
            dp_fatal(DP_EINTERNAL, "%s", dp_status_message());
        }
        ex->inbox = p;
        ex->inbox_floats = expected * slice;
    }
    float *inbox = ex->inbox;
    for (int d = 0; d < s->domains; d++) {
        if (d == mine) {
            continue;
        }
        int n = merge_domain(ex, d, 0, 0, left), peer = ex->peer[d];
        for (int v = 0; v < n; v++, inbox += slice) {
            ex->values[ex->nvalues++] = (value){left[v].node, inbox};
            post(ex, false, (char *)inbox, slice * sizeof(float), peer, v);
        }
        for (int r = 0; notes && r < s->comm->size; r++) {
            if (s->domain_of[r] == d) {
                post(ex, false, (char *)&ex->notes[r], sizeof(dp_note), peer,
                     TAG_NOTE + r);
            }
        }
    }
    for (int r = 0; r < s->comm->size; r++) {
        if (s->domain_of[r] == mine || ex->speaks[r] != rank) {
            continue;
        }
        size_t n = slice_of(ex, r);
        int values = merge_domain(ex, mine, ex->bound[r], n, left);
        for (int v = 0; v < values; v++) {
            post(ex, true, (char *)left[v].slice, n * sizeof(float), r, v);
        }
        for (int m = 0; notes && m < s->members; m++) {
            post(ex, true, (char *)&ex->notes[s->rank_of[m]], sizeof(dp_note), r,
                 TAG_NOTE + s->rank_of[m]);
        }
    }
    complete(ex);
}

/* allreduce = mpi: the rank's partials are added here, and the ranks' sums by MPI. */
static void plain(dp_exchange *ex) {
    dp_comm *comm = ex->shared->comm;
    int mine = ex->counts[comm->rank];
    float *sum = dp_exchange_slab(ex, 0);
    if (mine == 0) {
        memset(sum, 0, ex->floats * sizeof *sum);
    }
    for (int k = 1; k < mine; k++) {
        dp_tree_add(sum, dp_exchange_slab(ex, k), ex->floats);
    }
    MPI_Request request[2];
    MPI_Iallreduce(MPI_IN_PLACE, sum, (int)ex->floats, MPI_FLOAT, MPI_SUM, comm->world,
                   &request[0]);
    MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, ex->notes, sizeof(dp_note),
                   MPI_BYTE, comm->world, &request[1]);
    dp_comm_wait_all(comm, 2, request, "MPI_Iallreduce");
    ex->values[0] = (value){{0, ex->blocks}, sum + ex->bound[comm->rank]};
    ex->nvalues = 1;
}

/* The batch's loss along the tree over all ranks' nodes. Ranks have their nodes in order. */
static double add_notes(const dp_exchange *ex, dp_note *note) {
    double stack[DP_TREE_DEPTH * 4] = {0};
    dp_tree_walk walk;
    dp_tree_begin(&walk, ex->blocks);
    note->stop = 0;
    for (int r = 0; r < ex->shared->comm->size; r++) {
        for (int k = 0; k < ex->counts[r]; k++) {
            int top = walk.depth;
            stack[top] = ex->notes[r].loss[k];
            for (int m = dp_tree_push(&walk, ex->nodes[r][k]); m > 0; m--, top--) {
                stack[top - 1] += stack[top];
            }
        }
        note->stop += ex->notes[r].stop;
    }
    assert(walk.depth == 1);
    return stack[0];
}

double dp_exchange_reduce(dp_exchange *ex, const size_t *bound, int blocks,
                          dp_note *note) {
    dp_shared *s = ex->shared;
    int rank = s->comm->rank;
    deal(ex, blocks);
    ex->bound = bound;
    ex->nvalues = 0;
    if (note) {
        memcpy(s->own[s->me], note, sizeof *note);
        ex->notes[rank] = *note;
    }
    if (!ex->tree) {
        assert(note && bound[0] == 0 && bound[s->comm->size] == ex->floats);
        plain(ex);
        return add_notes(ex, note);
    }
    dp_shared_meet(s);
    for (int m = 0; m < s->members; m++) {
        int r = s->rank_of[m];
        if (note) {
            memcpy(&ex->notes[r], s->own[m], sizeof *note);
        }
        for (int k = 0; k < ex->counts[r]; k++) {
            ex->values[ex->nvalues++] =
                (value){ex->nodes[r][k], slab_of(ex, m, k) + ex->bound[rank]};
        }
    }
    if (s->domains > 1) {
        trade(ex, note != NULL);
        qsort(ex->values, (size_t)ex->nvalues, sizeof(value), by_node);
    }
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    for (int v = 0; v < ex->nvalues; v++) {
        ex->merges[v] = dp_tree_push(&walk, ex->values[v].node);
    }
    assert(walk.depth == 1);
    return note ? add_notes(ex, note) : 0;
}

const float *dp_exchange_sum(dp_exchange *ex, size_t begin, size_t end) {
    size_t offset = begin - ex->bound[ex->shared->comm->rank], n = end - begin;
    float *stack[DP_TREE_DEPTH * 4];
    int depth = 0;
    for (int v = 0; v < ex->nvalues; v++) {
        stack[depth++] = ex->values[v].slice + offset;
        for (int m = ex->tree ? ex->merges[v] : 0; m > 0; m--, depth--) {
            dp_tree_add(stack[depth - 2], stack[depth - 1], n);
        }
    }
    assert(depth == 1);
    return stack[0];
}

void dp_exchange_gather(dp_exchange *ex, int n, const dp_slices *arrays) {
    dp_shared *s = ex->shared;
    int rank = s->comm->rank, mine = s->domain_of[rank];
    for (int r = 0; s->domains > 1 && r < s->comm->size; r++) {
        if (s->domain_of[r] == mine) {
            continue;
        }
        /* r's slices come to the one of us that speaks with r; mine go to one of each domain. */
        bool receives = ex->speaks[r] == rank;
        bool sends = ex->peer[s->domain_of[r]] == r;
        for (int a = 0; a < n; a++) {
            char *base = arrays[a].base;
            size_t size = arrays[a].size;
            const size_t *bound = arrays[a].bound;
            if (receives) {
                post(ex, false, base + bound[r] * size, (bound[r + 1] - bound[r]) * size,
                     r, a);
            }
            if (sends) {
                post(ex, true, base + bound[rank] * size,
                     (bound[rank + 1] - bound[rank]) * size, r, a);
            }
        }
    }
    complete(ex);
    dp_shared_meet(s);
}
