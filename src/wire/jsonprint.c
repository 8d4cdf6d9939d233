#include "wire/jsonprint.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>

/* What the next byte may be. */
enum state {
    VALUE,
    FIRST_ELEMENT, /* a value or "]" */
    FIRST_KEY,     /* a key or "}" */
    KEY,
    COLON,
    BEHIND, /* a value: "," or the end of what it is in */
    STRING,
    ESCAPE,
    UNICODE,
    NUMBER,
    WORD,
    BROKEN,
};

/* Kinds of values, so that "1" and 1 differ. */
enum kind { KIND_STRING = 1, KIND_NUMBER, KIND_WORD, KIND_OBJECT, KIND_ARRAY };

/* ---- pointers
 * ------------------------------------------------------------------------------------------ */

bool jsonprint_compile(struct jsonprint_ignored *i, const char *text)
{
    memset(i, 0, sizeof *i);
    while (*text == '/') {
        struct digest token = {0};
        if (i->len == JSONPRINT_TOKENS)
            return false;
        if (text[1] == '*' && (text[2] == '/' || text[2] == '\0'))
            i->any |= UINT32_C(1) << i->len;
        for (text++; *text != '\0' && *text != '/'; text++) {
            bool escape = text[0] == '~' && (text[1] == '0' || text[1] == '1');
            text += escape;
            digest_add(&token, !escape ? text : text[0] == '0' ? "~" : "/", 1);
        }
        i->tokens[i->len++] = digest_of(&token);
    }
    return i->len > 0;
}

/* ---- places
 * ------------------------------------------------------------------------------------------- */

static void say(struct jsonprint *j, const char *text, size_t len)
{
    size_t room = sizeof j->where - j->where_len, n = len < room ? len : room;
    memcpy(j->where + j->where_len, text, n);
    j->where_len = (uint8_t)(j->where_len + n);
}

/* A key's bytes, as a pointer has them. */
static void say_key(struct jsonprint *j, const char *text, size_t len)
{
    for (size_t i = 0; i < len && j->where_len < sizeof j->where; i++)
        if (text[i] == '~' || text[i] == '/')
            say(j, text[i] == '~' ? "~0" : "~1", 2);
        else
            say(j, text + i, 1);
}

static struct jsonprint_frame *parent(struct jsonprint *j)
{
    ASSERT(j->depth > 0);
    return &j->frames[j->depth - 1];
}

/* The value that comes next is the one with this token in the present object or array. */
static void enter(struct jsonprint *j, uint64_t token)
{
    const struct jsonprint_frame *in = parent(j);
    j->at = (struct jsonprint_frame){
        .path = digest_join(in->path, token), .ignored = in->ignored, .where_len = j->where_len};
    for (uint32_t i = 0; i < j->ignored_len && in->open != 0; i++) {
        const struct jsonprint_ignored *p = &j->ignored[i];
        unsigned nth = j->depth - 1u;
        if ((in->open >> i & 1) == 0 || ((p->any >> nth & 1) == 0 && p->tokens[nth] != token))
            continue;
        if (p->len == j->depth)
            j->at.ignored = true;
        else
            j->at.open |= UINT32_C(1) << i;
    }
}

static void enter_element(struct jsonprint *j)
{
    struct jsonprint_frame *in = parent(j);
    struct digest token = {0};
    char digits[12];
    int n = snprintf(digits, sizeof digits, "/%u", in->next++);
    digest_add(&token, digits + 1, (size_t)n - 1);
    j->where_len = in->where_len;
    say(j, digits, (size_t)n);
    enter(j, digest_of(&token));
}

static void remember(struct jsonprint *j, uint64_t value)
{
    bool top = j->depth == 1;
    uint8_t *len = top ? &j->top_len : &j->deep_len;
    struct jsonprint_place *place = top ? &j->top[*len] : &j->deep[*len];
    if (*len == JSONPRINT_PLACES) {
        *(top ? &j->more_top : &j->more_deep) = true;
        return;
    }
    place->path = j->at.path;
    place->value = value;
    place->where_len = j->at.where_len;
    memcpy(place->where, j->where, place->where_len);
    ++*len;
}

/* ---- values
 * -------------------------------------------------------------------------------------------- */

static void value_ended(struct jsonprint *j, enum kind kind, uint64_t value)
{
    value = digest_join(kind, value);
    j->state = BEHIND;
    if (j->depth == 0) {
        j->value = value;
        return;
    }
    if (j->at.ignored)
        return;
    struct jsonprint_frame *in = parent(j);
    in->sum = in->is_object ? in->sum + digest_join(in->key, value) : digest_join(in->sum, value);
    remember(j, value);
}

static void open_container(struct jsonprint *j, bool is_object)
{
    if (j->depth == JSONPRINT_DEPTH) {
        j->state = BROKEN;
        return;
    }
    j->at.is_object = is_object;
    j->frames[j->depth++] = j->at;
    j->state = is_object ? FIRST_KEY : FIRST_ELEMENT;
}

static void close_container(struct jsonprint *j, bool is_object)
{
    if (j->depth == 0 || parent(j)->is_object != is_object) {
        j->state = BROKEN;
        return;
    }
    j->at = j->frames[--j->depth];
    value_ended(j, is_object ? KIND_OBJECT : KIND_ARRAY, j->at.sum);
}

/* ---- strings
 * -------------------------------------------------------------------------------------------- */

static void string_begins(struct jsonprint *j, bool is_key)
{
    j->in_key = is_key;
    j->text = (struct digest){0};
    j->high = 0;
    j->state = STRING;
    if (is_key) {
        j->where_len = parent(j)->where_len;
        say(j, "/", 1);
    }
}

static void string_takes(struct jsonprint *j, const char *text, size_t len)
{
    digest_add(&j->text, text, len);
    if (j->in_key)
        say_key(j, text, len);
}

/* RFC 3629; a surrogate without its other half goes the same way. */
static void string_takes_code(struct jsonprint *j, uint32_t code)
{
    char utf8[4];
    size_t n = 0;
    if (code < 0x80) {
        utf8[n++] = (char)code;
    } else if (code < 0x800) {
        utf8[n++] = (char)(0xc0 | code >> 6);
    } else if (code < 0x10000) {
        utf8[n++] = (char)(0xe0 | code >> 12);
        utf8[n++] = (char)(0x80 | (code >> 6 & 0x3f));
    } else {
        utf8[n++] = (char)(0xf0 | code >> 18);
        utf8[n++] = (char)(0x80 | (code >> 12 & 0x3f));
        utf8[n++] = (char)(0x80 | (code >> 6 & 0x3f));
    }
    if (code >= 0x80)
        utf8[n++] = (char)(0x80 | (code & 0x3f));
    string_takes(j, utf8, n);
}

static void flush_surrogate(struct jsonprint *j)
{
    if (j->high != 0)
        string_takes_code(j, j->high);
    j->high = 0;
}

static void string_ended(struct jsonprint *j)
{
    flush_surrogate(j);
    uint64_t value = digest_of(&j->text);
    if (!j->in_key) {
        value_ended(j, KIND_STRING, value);
        return;
    }
    parent(j)->key = value;
    enter(j, value);
    j->state = COLON;
}

/* As many bytes as there are before something special. */
static size_t string_run(struct jsonprint *j, const char *p, size_t len)
{
    size_t n = 0;
    while (n < len && (unsigned char)p[n] >= 0x20 && p[n] != '"' && p[n] != '\\')
        n++;
    if (n > 0) {
        flush_surrogate(j);
        string_takes(j, p, n);
        return n;
    }
    if (*p == '"')
        string_ended(j);
    else
        j->state = *p == '\\' ? ESCAPE : BROKEN;
    return 1;
}

static void escaped(struct jsonprint *j, char c)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = c != '\0' ? strchr(from, c) : NULL;
    j->state = STRING;
    if (c == 'u') {
        j->code = 0;
        j->hex_left = 4;
        j->state = UNICODE;
    } else if (at != NULL) {
        flush_surrogate(j);
        string_takes(j, &to[at - from], 1);
    } else {
        j->state = BROKEN;
    }
}

static void unicode_ended(struct jsonprint *j)
{
    bool low = j->code >= 0xdc00 && j->code < 0xe000, high = j->code >= 0xd800 && j->code < 0xdc00;
    j->state = STRING;
    if (j->high != 0 && low) {
        string_takes_code(j, 0x10000 + ((j->high - 0xd800) << 10) + (j->code - 0xdc00));
        j->high = 0;
        return;
    }
    flush_surrogate(j);
    if (high)
        j->high = j->code;
    else
        string_takes_code(j, j->code);
}

static void hex_digit(struct jsonprint *j, char c)
{
    unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                            : 16;
    if (digit == 16) {
        j->state = BROKEN;
        return;
    }
    j->code = j->code << 4 | digit;
    if (--j->hex_left == 0)
        unicode_ended(j);
}

/* ---- numbers and words
 * -------------------------------------------------------------------------------------------- */

static void number_ended(struct jsonprint *j)
{
    uint64_t print;
    if (jsonnumber_print(j->number, j->number_len, &print))
        value_ended(j, KIND_NUMBER, print);
    else
        j->state = BROKEN;
}

/* false: c is behind the number, and is to be looked at again. */
static bool number_takes(struct jsonprint *j, char c)
{
    bool of_it = (c >= '0' && c <= '9') || (c != '\0' && strchr("+-.eE", c) != NULL);
    if (!of_it)
        number_ended(j);
    else if (j->number_len == sizeof j->number)
        j->state = BROKEN;
    else
        j->number[j->number_len++] = c;
    return of_it;
}

static void word_takes(struct jsonprint *j, char c)
{
    if (j->word[j->word_at] != c)
        j->state = BROKEN;
    else if (j->word[++j->word_at] == '\0')
        value_ended(j, KIND_WORD, (uint64_t)(unsigned char)j->word[0]);
}

/* ---- structure
 * ----------------------------------------------------------------------------------------- */

static void value_begins(struct jsonprint *j, char c)
{
    if (j->depth > 0 && !parent(j)->is_object)
        enter_element(j);
    j->word = c == 't' ? "true" : c == 'f' ? "false" : c == 'n' ? "null" : NULL;
    if (c == '{' || c == '[') {
        open_container(j, c == '{');
    } else if (c == '"') {
        string_begins(j, false);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        j->number[0] = c;
        j->number_len = 1;
        j->state = NUMBER;
    } else if (j->word != NULL) {
        j->word_at = 1;
        j->state = WORD;
    } else {
        j->state = BROKEN;
    }
}

static void behind_value(struct jsonprint *j, char c)
{
    if (c == ',' && j->depth > 0)
        j->state = parent(j)->is_object ? KEY : VALUE;
    else if (c == '}' || c == ']')
        close_container(j, c == '}');
    else
        j->state = BROKEN;
}

static void structure(struct jsonprint *j, char c)
{
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        return;
    switch ((enum state)j->state) {
    case FIRST_ELEMENT:
        if (c == ']')
            close_container(j, false);
        else
            value_begins(j, c);
        break;
    case FIRST_KEY:
        if (c == '}') {
            close_container(j, true);
            break;
        }
        __attribute__((fallthrough));
    case KEY:
        if (c == '"')
            string_begins(j, true);
        else
            j->state = BROKEN;
        break;
    case COLON: j->state = c == ':' ? VALUE : BROKEN; break;
    case BEHIND: behind_value(j, c); break;
    default: value_begins(j, c); break;
    }
}

void jsonprint_start(struct jsonprint *j, const struct jsonprint_ignored *ignored, uint32_t len)
{
    ASSERT(len <= JSONPRINT_IGNORED);
    memset(j, 0, sizeof *j);
    j->ignored = ignored;
    j->ignored_len = len;
    j->at.open = (uint32_t)((UINT64_C(1) << len) - 1);
}

void jsonprint_feed(struct jsonprint *j, const char *data, size_t len)
{
    for (size_t i = 0; i < len && j->state != BROKEN;) {
        switch ((enum state)j->state) {
        case STRING: i += string_run(j, data + i, len - i); break;
        case ESCAPE: escaped(j, data[i++]); break;
        case UNICODE: hex_digit(j, data[i++]); break;
        case NUMBER: i += number_takes(j, data[i]); break;
        case WORD: word_takes(j, data[i++]); break;
        default: structure(j, data[i++]); break;
        }
    }
}

bool jsonprint_end(struct jsonprint *j)
{
    if (j->state == NUMBER)
        number_ended(j);
    return j->state == BEHIND && j->depth == 0;
}

/* ---- where two differ
 * ------------------------------------------------------------------------------------------- */

static const struct jsonprint_place *find(const struct jsonprint_place *all, uint8_t len,
                                          uint64_t path)
{
    for (uint8_t i = 0; i < len; i++)
        if (all[i].path == path)
            return &all[i];
    return NULL;
}

/* One of a that b has otherwise; missing: that it does not have. */
static const struct jsonprint_place *differing(const struct jsonprint_place *a, uint8_t a_len,
                                               const struct jsonprint_place *b, uint8_t b_len,
                                               bool missing)
{
    for (uint8_t i = 0; i < a_len; i++) {
        const struct jsonprint_place *other = find(b, b_len, a[i].path);
        if (missing ? other == NULL : other != NULL && other->value != a[i].value)
            return &a[i];
    }
    return NULL;
}

static const struct jsonprint_place *between(const struct jsonprint_place *a, uint8_t a_len,
                                             const struct jsonprint_place *b, uint8_t b_len,
                                             bool all)
{
    const struct jsonprint_place *place = differing(a, a_len, b, b_len, false);
    if (place == NULL && all)
        place = differing(a, a_len, b, b_len, true);
    if (place == NULL && all)
        place = differing(b, b_len, a, a_len, true);
    return place;
}

size_t jsonprint_where(const struct jsonprint *a, const struct jsonprint *b,
                       char where[JSONPRINT_WHERE])
{
    const struct jsonprint_place *place =
        between(a->deep, a->deep_len, b->deep, b->deep_len, !a->more_deep && !b->more_deep);
    if (place == NULL)
        place = between(a->top, a->top_len, b->top, b->top_len, !a->more_top && !b->more_top);
    if (place == NULL)
        return 0;
    memcpy(where, place->where, place->where_len);
    return place->where_len;
}
