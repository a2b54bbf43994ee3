/* The message of the last failure. */
#include "base/status.h"
#include "base/log.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char message[4096];
static void (*end_job)(dp_status code) = NULL;
static const char *own_name = NULL;

dp_status dp_fail(dp_status code, const char *format, ...) {
    char text[sizeof message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&lock);
    memcpy(message, text, sizeof message);
    pthread_mutex_unlock(&lock);
    return code;
}

const char *dp_status_message(void) {
    return message;
}

void dp_fatal_hook(void (*end)(dp_status code), const char *who) {
    end_job = end;
    own_name = who;
}

void dp_fatal(dp_status code, const char *format, ...) {
    static atomic_flag begun = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&begun)) {
        pause(); /* another thread has said why, and ends us */
    }
    char text[sizeof message];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (end_job && n >= 0 && (size_t)n < sizeof text) {
        snprintf(text + n, sizeof text - (size_t)n, " (%s)", own_name);
    }
    dp_error_line(text);
    if (end_job) {
        end_job(code);
    }
    _exit(code);
}
