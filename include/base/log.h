/** Output for people: stdout for the run's lines, stderr for notes and the one error.
 *  Only the rank that called dp_log_enable writes; everywhere else the calls do nothing.
 *  Each call writes one line of up to 8191 bytes; control characters in it (of a file's
 *  name, say) and bytes that are not UTF-8 are shown as \x1b and the like. */
#ifndef DP_BASE_LOG_H
#define DP_BASE_LOG_H

#include <stdbool.h>

/** Makes this process the one that writes. */
void dp_log_enable(bool enabled);

/** A line on stdout, flushed; the newline is added. Clears a progress bar first. */
void dp_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** "warning: ..." on stderr. */
void dp_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** "trainer: ..." on stderr, whether or not this process writes: the caller has
 *  made sure that it is the only one. */
void dp_error_line(const char *message);

/** From now on all lines go to this file too, behind those that are in it, or anew. What
 *  can't be written later, to a full disk, is left out. Once in a process. False: the file
 *  can't be opened, and errno says why */
bool dp_log_open(const char *path, bool anew);

/** From now on each line is an object of JSON: {"event": "message" (on stderr "warning" or
 *  "error"), "text": ...}, and there is no bar. */
void dp_log_json(void);

/** Whether they are. */
bool dp_log_is_json(void);

/** What an event says: a text, or where that is NULL a number. */
typedef struct dp_fact {
    const char *name, *text;
    double value;
} dp_fact;

/** With dp_log_json, a line {"event": event, name: value, ...} on stdout; numbers that JSON
 *  has not are null. Else nothing. */
void dp_log_event(const char *event, int n, const dp_fact *facts);

/** Whether lines go to a terminal alone: nobody can read more than a few in a second. */
bool dp_log_passes_by(void);

/** Whether a progress bar is to be drawn: stdout is a terminal, and the last one is a tenth
 *  of a second old. */
bool dp_progress_due(void);

/** Draws it: `done` of `total` in `what`, and `more` behind it, as far as the terminal is
 *  wide. */
void dp_progress(const char *what, long done, long total, const char *more);

#endif
