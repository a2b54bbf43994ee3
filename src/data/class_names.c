/* Classes that the data name. */
#include "class_names.h"
#include "base/memory.h"
#include "names.h"
#include <stdlib.h>
#include <string.h>

enum { MOST = 1000, FEW = 20 };

bool dp_class_names_open(const dp_read_request *request) {
    return request->kind != DP_VALUES && request->nclass_name == 0 &&
           request->schema.features == 0;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts them, each once. Returns how many are left. */
static int keep_different(int n, char **text) {
    int kept = 0;
    qsort(text, (size_t)n, sizeof *text, by_text);
    for (int i = 0; i < n; i++) {
        if (i == 0 || strcmp(text[kept - 1], text[i]) != 0) {
            text[kept++] = text[i];
        }
    }
    return kept;
}

static dp_status check_count(const dp_read_request *request, const char *where, int n,
                             int classes, char *const *name) {
    if (request->kind == DP_BINARY && classes != 2) {
        return dp_fail(
            DP_EDATA, "%s: %d class%s ('%.40s'%s), but loss.name = bce takes two%s",
            where, classes, classes > 1 ? "es" : "", name[0], classes > 1 ? ", ..." : "",
            classes > 1 ? ": for more set loss.name = cross_entropy" : "");
    }
    if (classes > MOST || (classes > FEW && classes > n / 2)) {
        return dp_fail(DP_EDATA,
                       "%s: %d different texts in %d samples ('%.40s', ...) are no "
                       "classes: data.target says which column is the target",
                       where, classes, n, name[0]);
    }
    return DP_OK;
}

static void set_class(dp_table *out, int i, int class) {
    if (out->label) {
        out->label[i] = class;
    } else {
        out->target[i] = (float)class;
    }
}

static dp_status take_known(const dp_read_request *request, const char *where, int n,
                            char *const *text, dp_table *out) {
    for (int i = 0; i < n; i++) {
        int class = dp_names_find(request->nclass_name, request->class_name, text[i]);
        if (class < 0) {
            return dp_fail(DP_EDATA,
                           "%s: '%.40s' of sample %d (from 0) is none of the %d "
                           "classes that are known",
                           where, text[i], i, request->nclass_name);
        }
        set_class(out, i, class);
    }
    return DP_OK;
}

static dp_status find_classes(const dp_read_request *request, const char *where, int n,
                              char *const *text, char **name, dp_table *out) {
    memcpy(name, text, (size_t)n * sizeof *name);
    int classes = keep_different(n, name);
    for (int c = 0; c < classes; c++) {
        if (!dp_names_is_utf8(name[c])) {
            return dp_fail(
                DP_EDATA,
                "%s: the name of a class is not UTF-8; scripts/prepare.py reads "
                "other encodings",
                where);
        }
    }
    DP_TRY(check_count(request, where, n, classes, name));
    for (int i = 0; i < n; i++) {
        char **place = bsearch(&text[i], name, (size_t)classes, sizeof *name, by_text);
        set_class(out, i, (int)(place - name));
    }
    out->nclass_name = classes;
    out->class_name = dp_names_copy(classes, name);
    return DP_OK;
}

dp_status dp_class_names_take(const dp_read_request *request, const char *where, int n,
                              char *const *text, dp_table *out) {
    if (!dp_class_names_open(request)) {
        return take_known(request, where, n, text, out);
    }
    char **name = NULL;
    DP_TRY(dp_memory_alloc((size_t)n, sizeof *name, (void **)&name));
    dp_status status = find_classes(request, where, n, text, name, out);
    dp_memory_free(&name);
    return status;
}
