/* How far people may go with what they order for an app's traffic (maintenance, fault): bounds of
 * the API's arguments, which the command line says in its own words. */
#ifndef SLUICE_WIRE_ORDERS_H
#define SLUICE_WIRE_ORDERS_H

#include <stdint.h>

#define ORDER_MAX_RETRY_AFTER_MS (7 * INT64_C(86400000))
enum {
    ORDER_MAX_HOLD_MS = 600000,
    ORDER_MAX_DELAY_MS = 60000,
    ORDER_MIN_FAULT_MS = 1000,
    ORDER_MAX_FAULT_MS = 24 * 3600000
};

#endif
