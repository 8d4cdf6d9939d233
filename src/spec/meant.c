#include "spec/meant.h"

#include "base/alloc.h"
#include "base/nearest.h"
#include "base/units.h"
#include "base/vec.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- words ----------------------------------------------------------------------------------- */

static const struct {
    const char *key, *theirs, *ours;
} words_of_others[] = {
    {"https", "true", "redirect"},     {"https", "on", "redirect"},
    {"https", "yes", "redirect"},      {"https", "required", "redirect"},
    {"https", "force", "redirect"},    {"https", "false", "optional"},
    {"https", "off", "optional"},      {"protocol", "grpc", "h2c"},
    {"protocol", "h2", "h2c"},         {"protocol", "http2", "h2c"},
    {"protocol", "http/2", "h2c"},     {"protocol", "http", "http1"},
    {"protocol", "http/1.1", "http1"}, {"tls", "letsencrypt", "auto"},
    {"tls", "acme", "auto"},           {"tls", "on", "auto"},
    {"tls", "true", "auto"},
};

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words != NULL && strcasecmp(*words, word) != 0)
        words++;
    return *words != NULL;
}

const char *meant_word(const char *key, const char *text, const char *const *words)
{
    static const char *const yes[] = {"yes", "on", "1", "true", NULL};
    static const char *const no[] = {"no", "off", "0", "false", NULL};
    for (size_t i = 0; i < COUNT_OF(words_of_others); i++)
        if (strcmp(words_of_others[i].key, key) == 0 &&
            strcasecmp(words_of_others[i].theirs, text) == 0)
            return words_of_others[i].ours;
    if (strcmp(words[0], "false") == 0 && is_one_of(text, yes))
        return "true";
    if (strcmp(words[0], "false") == 0 && is_one_of(text, no))
        return "false";
    const char *near = nearest_word(text, words);
    /* A number that is none of the list is another number, not a slip of the pen. */
    return near != NULL && isdigit((unsigned char)near[0]) ? NULL : near;
}

/* ---- durations and sizes --------------------------------------------------------------------- */

static const struct {
    const char *word;
    unsigned count; /* of the unit */
    const char *unit;
} times[] = {
    {"ms", 1, "ms"},    {"msec", 1, "ms"},  {"millisecond", 1, "ms"},
    {"s", 1, "s"},      {"sec", 1, "s"},    {"second", 1, "s"},
    {"m", 1, "m"},      {"min", 1, "m"},    {"minute", 1, "m"},
    {"h", 1, "h"},      {"hr", 1, "h"},     {"hour", 1, "h"},
    {"d", 1, "d"},      {"day", 1, "d"},    {"w", 7, "d"},
    {"week", 7, "d"},   {"month", 30, "d"}, {"y", 365, "d"},
    {"year", 365, "d"},
};

/* So many of what the word says, also in the plural; NULL: it is no such word. */
static char *counted(uint64_t count, const char *word)
{
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        size_t len = strlen(times[i].word);
        if (strncasecmp(word, times[i].word, len) == 0 &&
            (word[len] == '\0' || strcasecmp(word + len, "s") == 0))
            return xasprintf("%llu%s", (unsigned long long)count * times[i].count, times[i].unit);
    }
    return NULL;
}

/* The number in front of a text, at most 9 digits; false: there is none. */
static bool leading_number(const char **text, uint64_t *number)
{
    char digits[10];
    size_t len = strspn(*text, "0123456789");
    if (len == 0 || len >= sizeof digits)
        return false;
    snprintf(digits, sizeof digits, "%.*s", (int)len, *text);
    *text += len;
    return parse_u64(digits, UINT64_MAX, number) == 0;
}

/* `30sec`, `10 minutes`, `minute`, `1y`; where the unit is missing, seconds. */
char *meant_duration(const char *text, uint64_t min_ms, uint64_t max_ms)
{
    uint64_t count = 1;
    bool given = leading_number(&text, &count);
    char *meant = given && *text == '\0' ? xasprintf("%llus", (unsigned long long)count)
                                         : counted(count, text + strspn(text, " "));
    int64_t ms;
    if (meant != NULL && parse_duration_ms(meant, &ms) == 0 && (uint64_t)ms >= min_ms &&
        (uint64_t)ms <= max_ms)
        return meant;
    free(meant);
    return NULL;
}

/* `10MB`, `10mb`, `10 MiB`, `500/s`. */
char *meant_size(const char *text, uint64_t min, uint64_t max)
{
    uint64_t count, bytes;
    if (!leading_number(&text, &count))
        return NULL;
    text += strspn(text, " ");
    char unit[4] = "";
    size_t len = 0;
    if (*text != '\0' && strchr("kKmMgGtT", *text) != NULL) {
        unit[len++] = (char)(*text == 'k' || *text == 'K' ? 'k' : toupper((unsigned char)*text));
        text++;
        if (*text == 'i') {
            unit[0] = (char)toupper((unsigned char)unit[0]);
            unit[len++] = *text++;
        }
    }
    if (*text == 'B' || *text == 'b')
        text++;
    if (*text != '\0' && strcmp(text, "/s") != 0 && strcmp(text, "ps") != 0)
        return NULL;
    char *meant = xasprintf("%llu%s", (unsigned long long)count, unit);
    if (parse_size_bytes(meant, &bytes) == 0 && bytes >= min && bytes <= max)
        return meant;
    free(meant);
    return NULL;
}

char *meant_percentage(const char *text, uint64_t min, uint64_t max)
{
    /* A fraction has a 0 in front of its point; nobody who means a percent of a percent leaves the
     * sign out. */
    bool fraction = strncmp(text, "0.", 2) == 0;
    char size[32];
    uint32_t ppm;
    cleanup_free char *with_sign = xasprintf("%s%%", text);
    if (parse_percent_ppm(with_sign, &ppm) < 0)
        return NULL;
    uint64_t meant = fraction ? (uint64_t)ppm * 100 : ppm;
    if (meant < min || meant > max)
        return NULL;
    return xstrdup(format_percent_ppm((uint32_t)meant, size, sizeof size));
}

/* ---- keys ------------------------------------------------------------------------------------ */

const char *meant_command(const char *key)
{
    static const struct {
        const char *key, *instead;
    } commands[] = {
        {"maintenance", "it is no part of a release: `sluice maintenance APP on`"},
        {"fault", "it is no part of a release: `sluice fault APP on`"},
        {"faults", "it is no part of a release: `sluice fault APP on`"},
    };
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(commands[i].key, key) == 0)
            return commands[i].instead;
    return NULL;
}
