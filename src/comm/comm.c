#include "base/memory.h"
#include "comm_impl.h"
#include "cores.h"
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void leave(int number) {
    _exit(DP_EINTERNAL);
}

/* MPI may have no memory either, or be in another thread's hands: this process ends in any case, and
 * its launcher ends the others then. */
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

/* How many cores this rank may use, and the ranks of its host together. */
static void count_cores(dp_comm *comm) {
    cpu_set_t mine, all, first;
    dp_cores_first(&first);
    MPI_Allreduce(MPI_IN_PLACE, &first, (int)sizeof first, MPI_BYTE, MPI_BOR, comm->node);
    comm->first_cores = CPU_COUNT(&first);
    dp_cores_mask(&mine);
    MPI_Allreduce(&mine, &all, (int)sizeof mine, MPI_BYTE, MPI_BOR, comm->node);
    int quota = dp_cores_quota(""), slurm = dp_cores_slurm_node();
    quota = slurm < quota ? slurm : quota;
    cpu_set_t launcher;
    CPU_ZERO(&launcher);
    if (dp_launched() && sched_getaffinity(getppid(), sizeof launcher, &launcher) == 0) {
        CPU_OR(&launcher, &launcher, &all);
    } else {
        launcher = all;
    }
    int possible = CPU_COUNT(&launcher);
    comm->allowed_cores = possible < quota ? possible : quota;
    comm->mask_cores = CPU_COUNT(&mine);
    int own = comm->mask_cores, shared = CPU_COUNT(&all);
    comm->node_cores = shared < quota ? shared : quota;
    /* A mask that others share too is divided among the ranks of the host. */
    int part = comm->node_cores / comm->node_size;
    int task = dp_cores_slurm_task();
    comm->my_cores = own < part ? own : part;
    comm->my_cores = task < comm->my_cores ? task : comm->my_cores;
    if (comm->my_cores < 1) {
        comm->my_cores = 1;
    }
}

/* What Open MPI reads at its start. What the user has set in the environment stands. */
static void set_up_mpi(void) {
    /* Its TCP puts large messages in one piece each, and the other direction waits for it: an
     * exchange takes almost twice as long. */
    setenv("OMPI_MCA_btl_tcp_flags", "send", 0);
    if (dp_launched_by_nobody()) {
        /* A rank alone talks to nobody: looking for networks and starting a daemon take 0.3 s, and
         * a session folder, of one name for all ranks alone, is made and removed by each. */
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
    MPI_Comm_size(comm->node, &comm->node_size);
    MPI_Comm_rank(comm->node, &comm->node_rank);
    int first = comm->node_rank == 0;
    MPI_Allreduce(&first, &comm->nodes, 1, MPI_INT, MPI_SUM, comm->world);
    count_cores(comm);
    comm->timeout = 300;
    comm->passes = provided >= MPI_THREAD_SERIALIZED;
    comm->holder = pthread_self();
    *out = comm;
    return DP_OK;
}

void dp_comm_finalize(dp_comm **comm) {
    if (!*comm) {
        return;
    }
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

int dp_comm_nodes(const dp_comm *comm) {
    return comm->nodes;
}

int dp_comm_node_rank(const dp_comm *comm) {
    return comm->node_rank;
}

int dp_comm_node_size(const dp_comm *comm) {
    return comm->node_size;
}

int dp_comm_node_cores(const dp_comm *comm) {
    return comm->node_cores;
}

int dp_comm_allowed_cores(const dp_comm *comm) {
    return comm->allowed_cores;
}

int dp_comm_mask_cores(const dp_comm *comm) {
    return comm->mask_cores;
}

int dp_comm_first_cores(const dp_comm *comm) {
    return comm->first_cores;
}

/* Open MPI's own setting, however it was given; true where there is none to ask. */
bool dp_comm_yields(void) {
    int provided = 0, n = 0, count = 0, value = 1;
    if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS) {
        return true;
    }
    MPI_T_cvar_get_num(&n);
    for (int i = 0; i < n; i++) {
        char name[256];
        int length = sizeof name, verbosity = 0, binding = 0, scope = 0;
        MPI_Datatype type;
        MPI_T_enum values;
        MPI_T_cvar_handle handle;
        MPI_T_cvar_get_info(i, name, &length, &verbosity, &type, &values, NULL, NULL,
                            &binding, &scope);
        if (strcmp(name, "mpi_yield_when_idle") == 0 &&
            MPI_T_cvar_handle_alloc(i, NULL, &handle, &count) == MPI_SUCCESS) {
            unsigned char raw[sizeof(long)] = {0};
            MPI_T_cvar_read(handle, raw);
            value = raw[0] != 0;
            MPI_T_cvar_handle_free(&handle);
            break;
        }
    }
    MPI_T_finalize();
    return value;
}

const char *dp_comm_library(void) {
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    return text;
}

int dp_comm_auto_threads(const dp_comm *comm) {
    const char *asked = getenv("OMP_NUM_THREADS");
    if (asked) {
        int n = atoi(asked);
        if (n >= 1 && n <= 1024) {
            return n;
        }
    }
    return comm->my_cores;
}

void dp_comm_settle(dp_comm *comm, int threads, double timeout) {
    int all = threads;
    MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_SUM, comm->node);
    comm->crowded = all > comm->node_cores;
    comm->timeout = timeout;
}

bool dp_comm_crowded(const dp_comm *comm) {
    return comm->crowded;
}

bool dp_comm_passes(const dp_comm *comm) {
    return comm->passes;
}

void dp_comm_hold(dp_comm *comm) {
    comm->holder = pthread_self();
}

void dp_comm_nap(dp_comm *comm, bool naps) {
    atomic_store_explicit(&comm->naps, naps, memory_order_relaxed);
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
    int first = mine == DP_OK ? INT_MAX : known ? comm->speaker : comm->rank;
    /* That rank may be well by now: a later failure of another has the same code. */
    int code = mine == DP_OK ? comm->agreed : mine;
    allreduce(comm, &first, 1, MPI_INT, MPI_MIN);
    if (first == INT_MAX) {
        return DP_OK;
    }
    bcast(comm, comm->world, &code, sizeof code, first);
    comm->speaker = first;
    comm->agreed = (dp_status)code;
    return (dp_status)code;
}

bool dp_comm_speaks(const dp_comm *comm) {
    return comm->rank == comm->speaker;
}

void dp_comm_bcast(dp_comm *comm, void *data, size_t bytes) {
    bcast(comm, comm->world, data, bytes, 0);
}

void dp_comm_node_bcast(dp_comm *comm, void *data, size_t bytes) {
    bcast(comm, comm->node, data, bytes, 0);
}

void dp_comm_sum(dp_comm *comm, double *v, int n) {
    allreduce(comm, v, n, MPI_DOUBLE, MPI_SUM);
}

double dp_comm_max(dp_comm *comm, double v) {
    allreduce(comm, &v, 1, MPI_DOUBLE, MPI_MAX);
    return v;
}
