#include "base/status.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char message[4096];

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
