/* libcurl, loaded at run time: the binary does not need it, and the command line never pays for it.
 */
#ifndef SLUICE_FETCH_CURL_H
#define SLUICE_FETCH_CURL_H

#include "base/error.h"

#include <curl/curl.h>

#define CURL_FUNCTIONS(X)                                                                          \
    X(easy_init)                                                                                   \
    X(easy_setopt)                                                                                 \
    X(easy_getinfo)                                                                                \
    X(easy_cleanup)                                                                                \
    X(easy_strerror)                                                                               \
    X(global_init)                                                                                 \
    X(multi_add_handle)                                                                            \
    X(multi_cleanup)                                                                               \
    X(multi_info_read)                                                                             \
    X(multi_init)                                                                                  \
    X(multi_perform)                                                                               \
    X(multi_poll)                                                                                  \
    X(multi_remove_handle)                                                                         \
    X(multi_setopt)                                                                                \
    X(slist_append)                                                                                \
    X(slist_free_all)

struct curl {
#define X(name) __typeof__(&curl_##name) name;
    CURL_FUNCTIONS(X)
#undef X
};

/* ERROR_UNAVAILABLE: there is no such library, or not with all of that. */
int curl_load(struct curl *curl, struct error *err);

#endif
