/* Preloaded: counts what MPI makes and what is given back, and says at MPI_Finalize what is left. With
 * HANDLES_PLANTED one communicator is not given back. With HANDLES_FAIL=n the n-th call that starts a message
 * or a collective fails on rank HANDLES_RANK. */
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_int communicators, requests, handlers, calls;

/* As MPI itself does where a call fails: its error handler hears of it. */
static void begin(MPI_Comm comm) {
    const char *fail = getenv("HANDLES_FAIL"), *rank = getenv("HANDLES_RANK");
    const char *ours = getenv("OMPI_COMM_WORLD_RANK");
    requests++;
    if (fail && ++calls == atoi(fail) && ours && rank && atoi(ours) == atoi(rank)) {
        PMPI_Comm_call_errhandler(comm, MPI_ERR_OTHER);
    }
}

int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *out) {
    communicators++;
    return PMPI_Comm_dup(comm, out);
}

int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *out) {
    communicators++;
    return PMPI_Comm_split_type(comm, type, key, info, out);
}

int MPI_Comm_free(MPI_Comm *comm) {
    static bool planted = false;
    if (getenv("HANDLES_PLANTED") && !planted) {
        planted = true;
        return MPI_SUCCESS;
    }
    communicators--;
    return PMPI_Comm_free(comm);
}

int MPI_Comm_create_errhandler(MPI_Comm_errhandler_function *f, MPI_Errhandler *out) {
    handlers++;
    return PMPI_Comm_create_errhandler(f, out);
}

int MPI_Errhandler_free(MPI_Errhandler *handler) {
    handlers--;
    return PMPI_Errhandler_free(handler);
}

int MPI_Isend(const void *p, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request *out) {
    begin(comm);
    return PMPI_Isend(p, n, type, to, tag, comm, out);
}

int MPI_Irecv(void *p, int n, MPI_Datatype type, int from, int tag, MPI_Comm comm,
              MPI_Request *out) {
    begin(comm);
    return PMPI_Irecv(p, n, type, from, tag, comm, out);
}

int MPI_Ibarrier(MPI_Comm comm, MPI_Request *out) {
    begin(comm);
    return PMPI_Ibarrier(comm, out);
}

int MPI_Ibcast(void *p, int n, MPI_Datatype type, int root, MPI_Comm comm,
               MPI_Request *out) {
    begin(comm);
    return PMPI_Ibcast(p, n, type, root, comm, out);
}

int MPI_Iallreduce(const void *from, void *to, int n, MPI_Datatype type, MPI_Op op,
                   MPI_Comm comm, MPI_Request *out) {
    begin(comm);
    return PMPI_Iallreduce(from, to, n, type, op, comm, out);
}

int MPI_Iallgather(const void *from, int n, MPI_Datatype type, void *to, int m,
                   MPI_Datatype into, MPI_Comm comm, MPI_Request *out) {
    begin(comm);
    return PMPI_Iallgather(from, n, type, to, m, into, comm, out);
}

int MPI_Test(MPI_Request *request, int *done, MPI_Status *status) {
    bool live = *request != MPI_REQUEST_NULL;
    int code = PMPI_Test(request, done, status);
    requests -= live && *done;
    return code;
}

int MPI_Finalize(void) {
    fprintf(stderr, "left: %d communicators, %d requests, %d error handlers; %d calls\n",
            communicators, requests, handlers, calls);
    return PMPI_Finalize();
}
