/* A planted race, which tests/tsan.sh must be told of: all of a team add to one number. */
#include "step/team.h"
#include <stdio.h>

static void add(dp_team team, void *arg) {
    long *sum = arg;
    for (int i = 0; i < 1000; i++) {
        *sum += team.id;
    }
}

int main(void) {
    long sum = 0;
    dp_team_run(2, add, &sum);
    printf("%ld\n", sum);
    return 0;
}
