/* MPI's start and end, the topology, and the small collectives. */
#include "base/memory.h"
#include "comm_impl.h"
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void leave(int number) {
    _exit(DP_EINTERNAL);
}

/* MPI may have no memory either, or be in another thread's hands: this process ends in
 * any case, and its launcher ends the others then. */
static void end_job(dp_status code) {
    signal(SIGALRM, leave);
    alarm(2);
    MPI_Abort(MPI_COMM_WORLD, code);
}

/* From now on dp_fatal ends all ranks. */
static void name_process(void) {
    static char name[100];
    char host[65] = "";
    int rank = 0, size = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "rank %d on %s", rank, host);
    dp_fatal_hook(size > 1 ? end_job : NULL, name);
}

/* MPI's own failures (a lost rank, a broken link) can't be unwound together. */
static void on_mpi_error(MPI_Comm *where, int *code, ...) {
    (void)where;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(*code, text, &length);
    dp_fatal(DP_EINTERNAL, "MPI failed, another rank may be gone: %s", text);
}

/* MCA parameters of Open MPI, unless the user has set them in the environment. */
static void set_up_mpi(void) {
    /* Its default (RDMA protocol over TCP) sends a large message as a whole while the
     * other direction waits: an exchange takes almost twice as long. */
    setenv("OMPI_MCA_btl_tcp_flags", "send", 0);
    /* hwloc's plugins look for graphics cards through X displays, which may mean to wait for
     * a name server, and it complains where /sys is missing. */
    setenv("HWLOC_PLUGINS_PATH", "/nowhere", 0);
    setenv("HWLOC_HIDE_ERRORS", "2", 0);
    if (dp_comm_alone()) {
        /* A singleton talks to no other rank: searching for networks and starting a
         * daemon take 0.3 s, and singletons started at once create and remove the same
         * session folder. */
        setenv("OMPI_MCA_pml", "ob1", 0);
        setenv("OMPI_MCA_btl", "self", 0);
        setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
        setenv("OMPI_MCA_orte_create_session_dirs", "0", 0);
    }
}

dp_status dp_comm_init(int *argc, char ***argv, dp_comm **out) {
    if (dp_launched()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    set_up_mpi();
    int provided = 0;
    if (MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
        return dp_fail(DP_EINTERNAL, "MPI does not start");
    }
    name_process();
    dp_comm *comm = dp_alloc(1, sizeof *comm);
    MPI_Errhandler handler;
    MPI_Comm_create_errhandler(on_mpi_error, &handler);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, handler);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm->world);
    MPI_Comm_rank(comm->world, &comm->rank);
    MPI_Comm_size(comm->world, &comm->size);
    MPI_Comm_split_type(comm->world, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL,
                        &comm->node);
    MPI_Comm_set_errhandler(comm->world, handler);
    MPI_Comm_set_errhandler(comm->node, handler);
    MPI_Errhandler_free(&handler);
    dp_topology *topology = &comm->topology;
    MPI_Comm_size(comm->node, &topology->node_size);
    MPI_Comm_rank(comm->node, &topology->node_rank);
    int first = topology->node_rank == 0;
    MPI_Allreduce(&first, &topology->nodes, 1, MPI_INT, MPI_SUM, comm->world);
    dp_cores_count(comm->node, topology);
    comm->timeout = 300;
    comm->thread_serialized = provided >= MPI_THREAD_SERIALIZED;
    comm->mpi_thread = pthread_self();
    *out = comm;
    return DP_OK;
}

void dp_comm_finalize(dp_comm **comm) {
    if (!*comm) {
        return;
    }
    /* Until the last rank is here it may end the job, and Open MPI's launcher hangs or
     * crashes now and then when it is to end a rank that waits in MPI_Finalize. */
    MPI_Request request;
    MPI_Ibarrier((*comm)->world, &request);
    dp_comm_wait_all(*comm, 1, &request, "the end of the other ranks");
    MPI_Comm_free(&(*comm)->node);
    MPI_Comm_free(&(*comm)->world);
    free(*comm);
    *comm = NULL;
    dp_fatal_hook(NULL, NULL);
    MPI_Finalize();
}

int dp_comm_rank(const dp_comm *comm) {
    return comm->rank;
}

int dp_comm_size(const dp_comm *comm) {
    return comm->size;
}

const dp_topology *dp_comm_topology(const dp_comm *comm) {
    return &comm->topology;
}

int dp_comm_auto_threads(const dp_comm *comm) {
    const char *asked = getenv("OMP_NUM_THREADS");
    int n = asked ? atoi(asked) : 0;
    return n >= 1 && n <= 1024 ? n : comm->topology.own_cores;
}

void dp_comm_configure(dp_comm *comm, int threads, double timeout) {
    int all = threads;
    MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_SUM, comm->node);
    comm->topology.oversubscribed = all > comm->topology.node_cores;
    comm->timeout = timeout;
}

bool dp_comm_thread_serialized(const dp_comm *comm) {
    return comm->thread_serialized;
}

void dp_comm_set_mpi_thread(dp_comm *comm) {
    comm->mpi_thread = pthread_self();
}

void dp_comm_sleep_while_polling(dp_comm *comm, bool sleeps) {
    atomic_store_explicit(&comm->sleep_polls, sleeps, memory_order_relaxed);
}

static void allreduce(dp_comm *comm, void *v, int n, MPI_Datatype type, MPI_Op op) {
    MPI_Request request;
    MPI_Iallreduce(MPI_IN_PLACE, v, n, type, op, comm->world, &request);
    dp_comm_wait_all(comm, 1, &request, "a sum over all ranks");
}

static void bcast(dp_comm *comm, MPI_Comm where, void *data, size_t bytes, int root) {
    char *p = data;
    while (bytes > 0) {
        int n = bytes > INT_MAX / 2 ? INT_MAX / 2 : (int)bytes;
        MPI_Request request;
        MPI_Ibcast(p, n, MPI_BYTE, root, where, &request);
        dp_comm_wait_all(comm, 1, &request, "a broadcast to all ranks");
        p += n;
        bytes -= (size_t)n;
    }
}

dp_status dp_comm_agree(dp_comm *comm, dp_status mine) {
    /* A failure that was agreed on before is still that of the rank that had it first. */
    bool known = mine != DP_OK && mine == comm->agreed;
    int first = mine == DP_OK ? INT_MAX : known ? comm->error_rank : comm->rank;
    /* That rank may pass DP_OK now, while another fails with the same code: it still
     * broadcasts that code. */
    int code = mine == DP_OK ? comm->agreed : mine;
    allreduce(comm, &first, 1, MPI_INT, MPI_MIN);
    if (first == INT_MAX) {
        return DP_OK;
    }
    bcast(comm, comm->world, &code, sizeof code, first);
    comm->error_rank = first;
    comm->agreed = (dp_status)code;
    return (dp_status)code;
}

bool dp_comm_reports_error(const dp_comm *comm) {
    return comm->rank == comm->error_rank;
}

void dp_comm_bcast(dp_comm *comm, void *data, size_t bytes) {
    bcast(comm, comm->world, data, bytes, 0);
}

void dp_comm_node_bcast(dp_comm *comm, void *data, size_t bytes) {
    bcast(comm, comm->node, data, bytes, 0);
}

void dp_comm_sum(dp_comm *comm, double *v, size_t n) {
    const size_t most = 1 << 20; /* MPI counts in int */
    for (size_t at = 0; at < n; at += most) {
        allreduce(comm, v + at, (int)(n - at < most ? n - at : most), MPI_DOUBLE,
                  MPI_SUM);
    }
}

double dp_comm_max(dp_comm *comm, double v) {
    allreduce(comm, &v, 1, MPI_DOUBLE, MPI_MAX);
    return v;
}
