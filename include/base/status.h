/** Errors: one code, one message, made once where it happened.
 *
 *  A function that can fail because of the world (file, config, shape, NaN) returns a
 *  dp_status; our own bugs are asserts. The codes are the program's exit codes. */
#ifndef DP_BASE_STATUS_H
#define DP_BASE_STATUS_H

typedef enum dp_status {
    DP_OK = 0,
    DP_EINTERNAL = 1, /* a bug, or out of memory */
    DP_EUSAGE = 2,    /* command line or config */
    DP_EDATA = 3,     /* data set */
    DP_EFILE = 4,     /* checkpoint, metrics or other file of ours */
    DP_EDIVERGED = 5, /* loss, gradient or parameters not finite */
    DP_STOPPED = 75,  /* stopped before the last epoch, after a checkpoint */
} dp_status;

/** Returns from the caller with the status of `call`, if that is not DP_OK. The caller
 *  leaves nothing to clean up: what it builds lies in a zeroed struct, whose owner
 *  destroys it, whatever of it is there. */
#define DP_TRY(call)                                                                     \
    do {                                                                                 \
        dp_status dp_try_status = (call);                                                \
        if (dp_try_status != DP_OK) {                                                    \
            return dp_try_status;                                                        \
        }                                                                                \
    } while (0)

/** Records the message of a failure and returns `code`.
 *  The message says what was wrong, where, and what to do, in one line without a newline.
 *  A later failure replaces it. Safe in any thread. */
dp_status dp_fail(dp_status code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** Ends the job at once, after one line on stderr: for what leaves one rank alone no way
 *  to go on or to tell the others. Without dp_fatal_hook it is this process that ends,
 *  with exit code `code`. Safe in any thread. */
void dp_fatal(dp_status code, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

/** How dp_fatal takes the other processes of the job along (NULL: there are none), before
 *  it ends this one, and what it calls this one. `who` is borrowed. */
void dp_fatal_hook(void (*end)(dp_status code), const char *who);

/** The message of the last failure, "" if there was none. Owner: this module. */
const char *dp_status_message(void);

#endif
