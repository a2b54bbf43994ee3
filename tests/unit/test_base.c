/* Memory that is never NULL, files that are regular, and the end of a job. */
#include "base/memory.h"
#include "base/open.h"
#include "scratch.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

Test(memory, small_allocations_are_zeroed_and_grow)
{
    int *p = dp_alloc(3, sizeof *p);
    cr_assert(p[0] == 0 && p[2] == 0);
    p[2] = 7;
    p = dp_realloc(p, 1000, sizeof *p);
    cr_assert_eq(p[2], 7);
    free(p);
    void *none = dp_alloc(0, 8), *still = dp_realloc(NULL, 0, 8);
    cr_assert(none && still);
    free(none);
    free(still);
}

Test(memory, texts_are_made_whole)
{
    char *copy = dp_strdup("layer"), *text = dp_printed("%s:%0300d", copy, 7);
    cr_assert_eq(strlen(text), 306);
    cr_assert(strncmp(text, "layer:0", 7) == 0 && text[305] == '7');
    dp_strbuf b;
    FILE *f = dp_strbuf_open(&b);
    fprintf(f, "%s,", copy);
    fprintf(f, "%d", 5);
    dp_strbuf_close(&b);
    cr_assert_str_eq(b.text, "layer,5");
    cr_assert_eq(b.size, 7);
    free(copy);
    free(text);
    free(b.text);
}

/* A size that can't be had, whatever the machine. */
static const size_t most = PTRDIFF_MAX;

Test(memory, the_job_ends_with_1_where_memory_does, .exit_code = DP_EINTERNAL)
{ (void)dp_alloc(most, 1); }

Test(memory, a_size_that_overflows_ends_the_job_too, .exit_code = DP_EINTERNAL)
{ (void)dp_realloc(NULL, SIZE_MAX / 4, 8); }

Test(memory, a_slab_is_refused_with_a_status)
{
    void *p = NULL;
    cr_assert_eq(dp_memory_alloc(most / 8, 8, &p), DP_EINTERNAL);
    cr_assert_null(p);
    cr_assert_eq(dp_memory_resize(&p, 8), DP_OK);
    memcpy(p, "layers", 7);
    cr_assert_eq(dp_memory_resize(&p, most), DP_EINTERNAL);
    cr_assert_eq(dp_memory_resize(&p, 1 << 20), DP_OK);
    cr_assert_str_eq(p, "layers");
    dp_memory_free(&p);
    cr_assert(strstr(dp_status_message(), "out of memory"));
}

static void leave_with_5(dp_status code) {
    _exit(code + 4);
}

Test(fatal, takes_the_other_processes_along, .exit_code = 5)
{
    dp_fatal_hook(leave_with_5, "rank 1 on here");
    dp_fatal(DP_EINTERNAL, "no way on");
}

static void refuses(const char *path, const char *kind) {
    int fd = -1;
    cr_assert_eq(dp_open_regular(path, DP_EDATA, "give another", &fd, NULL), DP_EDATA);
    cr_assert(strstr(dp_status_message(), path) && strstr(dp_status_message(), kind),
              "%s", dp_status_message());
    cr_assert_eq(fd, -1);
}

TestSuite(open, .init = scratch_make, .fini = scratch_remove);

Test(open, takes_regular_files_only)
{
    cr_assert_eq(mkfifo(in("pipe"), 0600), 0);
    refuses(in("pipe"), "is a pipe");
    cr_assert_eq(dp_open_check_target(in("pipe"), DP_EFILE), DP_EFILE);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s/socket", scratch);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(s, (struct sockaddr *)&name, sizeof name), 0);
    close(s);
    refuses(name.sun_path, "is a socket");
    refuses("/dev/null", "is a device");
    cr_assert_eq(dp_open_check_target("/dev/null", DP_EFILE), DP_EFILE);
    refuses(scratch, "is a folder, not a file; give another");
    refuses(in("none"), "can't be opened: No such file or directory; give another");
    cr_assert_eq(dp_open_check_target(in("none"), DP_EFILE), DP_OK);
}

Test(open, reads_a_small_file_whole_or_refuses_it)
{
    char bytes[2048], *text = NULL;
    size_t length = 0;
    memset(bytes, '5', sizeof bytes);
    put_bytes("text", bytes, sizeof bytes);
    cr_assert_eq(dp_open_read(in("text"), DP_EFILE, NULL, 2048, &text, &length), DP_OK);
    cr_assert(length == 2048 && memcmp(text, bytes, 2048) == 0 && text[2048] == '\0');
    free(text);
    cr_assert_eq(dp_open_read(in("text"), DP_EFILE, NULL, 2047, &text, &length),
                 DP_EFILE);
    cr_assert(strstr(dp_status_message(), "is larger than 1 KiB"));
    int fd = -1;
    cr_assert_eq(dp_open_regular(in("text"), DP_EFILE, NULL, &fd, &length), DP_OK);
    cr_assert_eq(length, 2048);
    close(fd);
    cr_assert_eq(dp_open_check_target(in("text"), DP_EFILE), DP_OK);
}
