#include "run/signals.h"
#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t pending = 0;

static void on_signal(int number) {
    pending = number;
}

void dp_signals_install(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    action.sa_flags |= SA_RESETHAND; /* the second one has its usual effect */
    sigaction(SIGINT, &action, NULL);
}

int dp_signals_pending(void) {
    return pending;
}
