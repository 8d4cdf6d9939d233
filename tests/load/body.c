#include "load.h"

#include <string.h>

/* Each body begins with its request's number, so that one answer can not be taken for another. */
enum { NUMBER_BYTES = 16 };

char body_byte(uint64_t request, uint64_t i)
{
    if (i < NUMBER_BYTES)
        return "0123456789abcdef"[request >> (60 - 4 * i) & 15];
    return (char)((i * 131 + (i >> 8) * 7) & 255);
}

void body_fill(uint64_t request, uint64_t from, char *to, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = body_byte(request, from + i);
}

static uint32_t crc_of_byte(uint32_t c)
{
    for (int bit = 0; bit < 8; bit++)
        c = (c >> 1) ^ (0xEDB88320u & (0u - (c & 1)));
    return c;
}

uint32_t body_crc(uint64_t request, uint64_t len)
{
    uint32_t table[256], crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < 256; i++)
        table[i] = crc_of_byte(i);
    for (uint64_t i = 0; i < len; i++)
        crc = (crc >> 8) ^ table[(crc ^ (unsigned char)body_byte(request, i)) & 255];
    return ~crc;
}
