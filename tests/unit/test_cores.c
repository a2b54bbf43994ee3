/* What limits the cores of a process: groups of both versions, below a root of the test's
 * own, and what Slurm says. */
#include "../../src/comm/comm_impl.h"
#include "scratch.h"
#include <limits.h>

/* root/path with this text; folders are made. */
static void put(const char *path, const char *text) {
    char at[200];
    snprintf(at, sizeof at, "%s", path);
    for (char *p = strchr(at, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(in(at), 0755);
        *p = '/';
    }
    put_bytes(path, text, strlen(text));
}

#define GROUPS "sys/fs/cgroup"

TestSuite(cores, .init = scratch_make, .fini = scratch_remove);

Test(cores, no_group_is_no_limit)
{
    cr_assert_eq(dp_cores_quota(scratch), INT_MAX);
    put("proc/self/cgroup", "0::/\n");
    put(GROUPS "/cgroup.procs", "1\n");
    cr_assert_eq(dp_cores_quota(scratch), INT_MAX);
}

Test(cores, a_container_sees_its_own_group_at_the_top)
{
    put("proc/self/cgroup", "0::/\n");
    put(GROUPS "/cpu.max", "350000 100000\n");
    cr_assert_eq(dp_cores_quota(scratch), 3);
    put(GROUPS "/cpu.max", "50000 100000\n");
    cr_assert_eq(dp_cores_quota(scratch), 1, "less than one core is one thread");
    put(GROUPS "/cpu.max", "max 100000\n");
    cr_assert_eq(dp_cores_quota(scratch), INT_MAX);
    put("proc/self/cgroup", "0::/outside/the/container\n");
    put(GROUPS "/cpu.max", "200000 100000\n");
    cr_assert_eq(dp_cores_quota(scratch), 2);
}

Test(cores, the_least_of_nested_groups_counts)
{
    put("proc/self/cgroup", "0::/job/step/task\n");
    put(GROUPS "/job/step/task/cpu.max", "max 100000\n");
    put(GROUPS "/job/step/cpu.max", "800000 100000\n");
    put(GROUPS "/job/cpu.max", "400000 100000\n");
    cr_assert_eq(dp_cores_quota(scratch), 4);
    put(GROUPS "/job/step/task/cpu.max", "150000 50000\n");
    cr_assert_eq(dp_cores_quota(scratch), 3);
}

Test(cores, version_1_has_quota_and_period_in_two_files)
{
    put("proc/self/cgroup", "5:cpuset:/other\n3:cpu,cpuacct:/job/step\n1:name=systemd:/\n"
                            "0::/\n");
    put(GROUPS "/cpu,cpuacct/job/step/cpu.cfs_quota_us", "-1\n");
    put(GROUPS "/cpu,cpuacct/job/step/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(dp_cores_quota(scratch), INT_MAX);
    put(GROUPS "/cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n");
    put(GROUPS "/cpu,cpuacct/job/cpu.cfs_period_us", "50000\n");
    cr_assert_eq(dp_cores_quota(scratch), 5);
    put("proc/self/cgroup", "3:cpuacct,cpu:/job\n");
    put(GROUPS "/cpu/job/cpu.cfs_quota_us", "200000\n");
    put(GROUPS "/cpu/job/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(dp_cores_quota(scratch), 2, "by the link of the controller alone");
    put("proc/self/cgroup", "3:cpuset,cpuacct:/job\n");
    cr_assert_eq(dp_cores_quota(scratch), INT_MAX, "not the controller of time");
}

Test(cores, slurm_counts_where_it_does_not_bind)
{
    const char *const mine[] = {"SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK",
                                "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"};
    for (int k = 0; k < 4; k++) {
        unsetenv(mine[k]);
    }
    cr_assert_eq(dp_cores_slurm_node(), INT_MAX);
    setenv("SLURM_CPUS_ON_NODE", "12", 1);
    setenv("SLURM_CPUS_PER_TASK", "3", 1);
    cr_assert_eq(dp_cores_slurm_node(), 12);
    cr_assert_eq(dp_cores_slurm_task(), INT_MAX, "a batch script has all tasks' cores");
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    cr_assert_eq(dp_cores_slurm_task(), 3);
    setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
    cr_assert_eq(dp_cores_slurm_task(), INT_MAX, "mpirun's ranks are not srun's tasks");
}
