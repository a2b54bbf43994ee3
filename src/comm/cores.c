/* The cores that this process may use, by all that may limit them: affinity, the places of
 * OpenMP, cgroups, Slurm. */
#include "comm_impl.h"
#include <limits.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int least(int a, int b) {
    return a < b ? a : b;
}

/* OpenMP's places, or 0 where it binds nobody. */
static int count_places(void) {
    return omp_get_proc_bind() == omp_proc_bind_false ? 0 : omp_get_num_places();
}

static void add_place(int place, cpu_set_t *out) {
    int id[CPU_SETSIZE], n = omp_get_place_num_procs(place);
    if (n <= CPU_SETSIZE) {
        omp_get_place_proc_ids(place, id);
        for (int k = 0; k < n; k++) {
            CPU_SET((size_t)id[k], out);
        }
    }
}

/* The cores of the affinity mask, or where OpenMP binds threads (OMP_PROC_BIND,
 * OMP_PLACES), those of its places: it has bound the first thread to one of them before
 * main begins. */
static void find_mask(cpu_set_t *out) {
    CPU_ZERO(out);
    for (int p = 0; p < count_places(); p++) {
        add_place(p, out);
    }
    if (CPU_COUNT(out) == 0 && sched_getaffinity(0, sizeof *out, out) != 0) {
        CPU_SET(0, out);
    }
}

/* Of these, those of the first thread. */
static void find_first(cpu_set_t *out) {
    int place = omp_get_place_num(); /* -1: a runtime that binds in its first region */
    find_mask(out);
    if (count_places() > 0) {
        CPU_ZERO(out);
        add_place(place < 0 ? 0 : place, out);
    }
}

/* The numbers in the file folder/name, up to two; returns how many there are. */
static int read_numbers(const char *folder, const char *name, long value[2]) {
    char path[3 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    int n = f ? fscanf(f, "%ld %ld", &value[0], &value[1]) : 0;
    if (f) {
        fclose(f);
    }
    return n;
}

/* Of one group, whose files are in a folder. */
static int quota_of(const char *folder) {
    long v[2], period[2];
    bool known = read_numbers(folder, "cpu.max", v) == 2;
    if (!known && read_numbers(folder, "cpu.cfs_quota_us", v) == 1 &&
        read_numbers(folder, "cpu.cfs_period_us", period) == 1) {
        v[1] = period[0];
        known = true;
    }
    if (!known || v[0] <= 0 || v[1] <= 0) {
        return INT_MAX;
    }
    long cores = v[0] / v[1];
    return cores < 1 ? 1 : cores < INT_MAX ? (int)cores : INT_MAX;
}

/* Of the group `path` below `top`, and of all above it. Those that can't be seen from
 * inside a container are not there; `top` is the container's own then. */
static int quota_up_to(const char *top, const char *path) {
    char folder[2 * PATH_MAX];
    int cores = quota_of(top);
    snprintf(folder, sizeof folder, "%s%s", top, path);
    for (char *end; (end = strrchr(folder, '/')) && end >= folder + strlen(top);
         *end = '\0') {
        cores = least(cores, quota_of(folder));
    }
    return cores;
}

static bool has(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += length) {
        if ((at == list || at[-1] == ',') && (at[length] == ',' || !at[length])) {
            return true;
        }
    }
    return false;
}

int dp_cores_quota(const char *root) {
    char top[PATH_MAX], line[PATH_MAX];
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *f = fopen(line, "r");
    int cores = INT_MAX;
    while (f && fgets(line, sizeof line, f)) {
        /* number:controllers:path, without controllers for version 2 */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) {
            continue;
        }
        *controllers++ = *path++ = '\0';
        if (!controllers[0]) {
            snprintf(top, sizeof top, "%s/sys/fs/cgroup", root);
            cores = least(cores, quota_up_to(top, path));
        } else if (has(controllers, "cpu")) {
            /* A mount for each set of controllers, and mostly a link for each of them. */
            snprintf(top, sizeof top, "%s/sys/fs/cgroup/%s", root, controllers);
            cores = least(cores, quota_up_to(top, path));
            snprintf(top, sizeof top, "%s/sys/fs/cgroup/cpu", root);
            cores = least(cores, quota_up_to(top, path));
        }
    }
    if (f) {
        fclose(f);
    }
    return cores;
}

static int number(const char *variable) {
    const char *text = getenv(variable);
    int n = text ? atoi(text) : 0;
    return n > 0 ? n : INT_MAX;
}

int dp_cores_slurm_node(void) {
    return number("SLURM_CPUS_ON_NODE");
}

int dp_cores_slurm_task(void) {
    /* mpirun starts its daemons by srun, and its ranks inherit what is said to those. */
    bool task = getenv("SLURM_STEP_NUM_TASKS") && !getenv("OMPI_COMM_WORLD_SIZE");
    return task ? number("SLURM_CPUS_PER_TASK") : INT_MAX;
}

void dp_cores_count(MPI_Comm node, dp_topology *topology) {
    cpu_set_t mine, all, first, launcher;
    find_first(&first);
    MPI_Allreduce(MPI_IN_PLACE, &first, (int)sizeof first, MPI_BYTE, MPI_BOR, node);
    topology->first_cores = CPU_COUNT(&first);
    find_mask(&mine);
    MPI_Allreduce(&mine, &all, (int)sizeof mine, MPI_BYTE, MPI_BOR, node);
    CPU_ZERO(&launcher);
    if (dp_launched()) {
        sched_getaffinity(getppid(), sizeof launcher, &launcher);
    }
    CPU_OR(&launcher, &launcher, &all);
    int quota = least(dp_cores_quota(""), dp_cores_slurm_node());
    topology->allowed_cores = least(CPU_COUNT(&launcher), quota);
    topology->bound_cores = CPU_COUNT(&mine);
    topology->node_cores = least(CPU_COUNT(&all), quota);
    /* An affinity mask that several ranks share is divided among them. */
    int even = topology->node_cores / topology->node_size;
    int own = least(least(topology->bound_cores, even), dp_cores_slurm_task());
    topology->own_cores = own < 1 ? 1 : own;
}
