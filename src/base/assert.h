/* Assertions that stay on. For programmer errors only: bad input is an error value, never an
 * assert. Safe in every process, because the guardian restarts the controller and the gateway. */
#ifndef SLUICE_BASE_ASSERT_H
#define SLUICE_BASE_ASSERT_H

_Noreturn void assert_failed(const char *expression, const char *file, int line,
                             const char *function);

#define ASSERT(e)                                                                                  \
    (__builtin_expect(!!(e), 1) ? (void)0 : assert_failed(#e, __FILE__, __LINE__, __func__))
#define UNREACHABLE() assert_failed("unreachable", __FILE__, __LINE__, __func__)

#endif
