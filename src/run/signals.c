/* Signals that ask the run to stop. */
#include "run/signals.h"
#include "base/status.h"
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t pending = 0, deferred = 0, reporting = 0;

static void on_signal(int number) {
    static const char text[] = "stopped by a signal before the first step; run the same "
                               "command again to go on\n";
    pending = number;
    if (!deferred) {
        if (reporting) {
            (void)!write(STDOUT_FILENO, text, sizeof text - 1);
        }
        _exit(DP_STOPPED);
    }
}

void dp_signals_install(bool reports) {
    reporting = reports;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    action.sa_flags |= SA_RESETHAND; /* the second one has its usual effect */
    sigaction(SIGINT, &action, NULL);
}

void dp_signals_defer(void) {
    deferred = 1;
}

int dp_signals_pending(void) {
    return pending;
}
