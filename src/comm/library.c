/* What the MPI library says of itself. */
#include "comm_impl.h"
#include <string.h>

const char *dp_comm_library(void) {
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    return text;
}

/* Open MPI's setting, however it was given; true for other MPI libraries. */
bool dp_comm_yields_when_idle(void) {
    int provided = 0, n = 0, count = 0, value = 1;
    if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS) {
        return true;
    }
    MPI_T_cvar_get_num(&n);
    for (int i = 0; i < n; i++) {
        char name[256];
        int length = sizeof name, verbosity = 0, binding = 0, scope = 0;
        MPI_Datatype type;
        MPI_T_enum values;
        MPI_T_cvar_handle handle;
        MPI_T_cvar_get_info(i, name, &length, &verbosity, &type, &values, NULL, NULL,
                            &binding, &scope);
        if (strcmp(name, "mpi_yield_when_idle") == 0 &&
            MPI_T_cvar_handle_alloc(i, NULL, &handle, &count) == MPI_SUCCESS) {
            unsigned char raw[sizeof(long)] = {0};
            MPI_T_cvar_read(handle, raw);
            value = raw[0] != 0;
            MPI_T_cvar_handle_free(&handle);
            break;
        }
    }
    MPI_T_finalize();
    return value;
}
