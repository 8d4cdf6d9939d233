#include "fetch/curl.h"

#include <dlfcn.h>
#include <string.h>

int curl_load(struct curl *curl, struct error *err)
{
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return error_set(err, ERROR_UNAVAILABLE,
                         "libcurl is missing on the server (Debian: apt install libcurl4)");
#define X(name)                                                                                    \
    void *name = dlsym(library, "curl_" #name);                                                    \
    if (name == NULL)                                                                              \
        return error_set(err, ERROR_UNAVAILABLE, "libcurl on the server is too old: it has no %s", \
                         "curl_" #name);                                                           \
    memcpy(&curl->name, &name, sizeof name); /* ISO C has no cast from an object to a function */
    CURL_FUNCTIONS(X)
#undef X
    if (curl->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(err, ERROR_UNAVAILABLE, "libcurl on the server does not start");
    return 0;
}
