#include "base/alloc.h"
#include "base/assert.h"
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct store_batch *store_batch_new(struct store *store)
{
    ASSERT(store != NULL);
    struct store_batch *batch = xcalloc(1, sizeof *batch);
    batch->tail = &batch->head;
    return batch;
}

void store_batch_free(struct store_batch *batch)
{
    if (batch == NULL)
        return;
    arena_release(&batch->arena);
    free(batch);
}

bool store_batch_empty(const struct store_batch *batch)
{
    return batch->head == NULL;
}

static struct operation *add(struct store_batch *batch, int statement, size_t values_len)
{
    struct operation *op =
        arena_alloc(&batch->arena, sizeof *op + values_len * sizeof op->values[0]);
    op->statement = statement;
    op->values_len = values_len;
    *batch->tail = op;
    batch->tail = &op->next;
    return op;
}

static struct value text_value(struct store_batch *batch, const char *text)
{
    if (text == NULL)
        text = "";
    size_t len = strlen(text);
    return (struct value){.text = arena_strndup(&batch->arena, text, len), .text_len = len};
}

static struct value number_value(uint64_t number)
{
    /* SQLite has no unsigned 64 bits; a count that high does not happen, and sticks at the end. */
    return (struct value){.number = number > INT64_MAX ? INT64_MAX : (int64_t)number};
}

static struct value member_value(struct store_batch *batch, const struct column *column,
                                 const void *row)
{
    const void *member = (const char *)row + column->offset;
    switch (column->type) {
    case COLUMN_TEXT: return text_value(batch, *(const char *const *)member);
    case COLUMN_I64: return (struct value){.number = *(const int64_t *)member};
    case COLUMN_U64: return number_value(*(const uint64_t *)member);
    case COLUMN_U32: return number_value(*(const uint32_t *)member);
    case COLUMN_BOOL: return number_value(*(const bool *)member);
    case COLUMN_STATUS:
        return text_value(batch, release_status_word(*(const enum release_status *)member));
    }
    UNREACHABLE();
}

static void put(struct store_batch *batch, enum table_id id, const void *row)
{
    const struct table *table = table_of(id);
    struct operation *op = add(batch, (int)id, table->columns_len);
    for (size_t i = 0; i < table->columns_len; i++)
        op->values[i] = member_value(batch, &table->columns[i], row);
}

void batch_put_app(struct store_batch *batch, const struct store_app *app)
{
    ASSERT(app->app != NULL && app->app[0] != '\0');
    put(batch, TABLE_APP, app);
}

static void set_text(struct store_batch *batch, int statement, const char *key, const char *value)
{
    struct operation *op = add(batch, statement, 2);
    op->values[0] = text_value(batch, key);
    op->values[1] = text_value(batch, value);
}

void batch_put_app_state(struct store_batch *batch, const char *app, const char *state_json)
{
    set_text(batch, SQL_PUT_APP_STATE, app, state_json);
}

void batch_put_app_extras(struct store_batch *batch, const char *app, const char *extras_json)
{
    set_text(batch, SQL_PUT_APP_EXTRAS, app, extras_json);
}

void batch_delete_app(struct store_batch *batch, const char *app)
{
    add(batch, SQL_DELETE_APP, 1)->values[0] = text_value(batch, app);
}

void batch_put_release(struct store_batch *batch, const struct store_release *release)
{
    ASSERT(release->number != 0);
    put(batch, TABLE_RELEASE, release);
}

void batch_set_release_status(struct store_batch *batch, const char *app, uint32_t number,
                              enum release_status status)
{
    struct operation *op = add(batch, SQL_SET_RELEASE_STATUS, 3);
    op->values[0] = text_value(batch, app);
    op->values[1] = number_value(number);
    op->values[2] = text_value(batch, release_status_word(status));
}

void batch_delete_release(struct store_batch *batch, const char *app, uint32_t number)
{
    struct operation *op = add(batch, SQL_DELETE_RELEASE, 2);
    op->values[0] = text_value(batch, app);
    op->values[1] = number_value(number);
}

void batch_put_rollout(struct store_batch *batch, const struct store_rollout *rollout)
{
    ASSERT(rollout->id != 0 && rollout->id <= INT64_MAX);
    put(batch, TABLE_ROLLOUT, rollout);
}

void batch_end_rollout(struct store_batch *batch, const struct store_rollout *rollout)
{
    ASSERT(rollout->id != 0 && rollout->ended_ms != 0);
    struct operation *op = add(batch, SQL_END_ROLLOUT, 9);
    op->values[0] = number_value(rollout->id);
    op->values[1] = (struct value){.number = rollout->ended_ms};
    op->values[2] = text_value(batch, rollout->result);
    op->values[3] = text_value(batch, rollout->reason_code);
    op->values[4] = text_value(batch, rollout->reason_text);
    op->values[5] = number_value(rollout->requests_stable);
    op->values[6] = number_value(rollout->requests_candidate);
    op->values[7] = number_value(rollout->failed);
    op->values[8] = text_value(batch, rollout->judge_json);
}

void batch_put_instance(struct store_batch *batch, const struct store_instance *instance)
{
    ASSERT(instance->id != NULL && instance->id[0] != '\0');
    put(batch, TABLE_INSTANCE, instance);
}

void batch_delete_instance(struct store_batch *batch, const char *id)
{
    add(batch, SQL_DELETE_INSTANCE, 1)->values[0] = text_value(batch, id);
}

void batch_add_event(struct store_batch *batch, const struct store_event *event)
{
    ASSERT(event->id != 0 && event->id <= INT64_MAX);
    put(batch, TABLE_EVENT, event);
}

void batch_put_idempotency(struct store_batch *batch, const struct store_idempotency *idempotency)
{
    ASSERT(idempotency->key != NULL && idempotency->key[0] != '\0');
    put(batch, TABLE_IDEMPOTENCY, idempotency);
}

void batch_put_traffic(struct store_batch *batch, const struct store_traffic *traffic)
{
    put(batch, TABLE_TRAFFIC, traffic);
    struct operation *op = add(batch, SQL_FORGET_TRAFFIC, 2);
    op->values[0] = text_value(batch, traffic->app);
    op->values[1] = (struct value){.number = traffic->minute - STORE_TRAFFIC_MINUTES};
}

void batch_put_verdict(struct store_batch *batch, const struct store_verdict *verdict)
{
    ASSERT(verdict->rollout != 0 && verdict->rollout <= INT64_MAX);
    put(batch, TABLE_VERDICT, verdict);
}

void batch_forget_verdicts(struct store_batch *batch, const char *app, uint64_t but_rollout)
{
    struct operation *op = add(batch, SQL_FORGET_VERDICTS, 2);
    op->values[0] = text_value(batch, app);
    op->values[1] = number_value(but_rollout);
}

void batch_thin_verdicts(struct store_batch *batch, const char *app, uint64_t rollout,
                         uint32_t each)
{
    ASSERT(each > 0);
    struct operation *op = add(batch, SQL_THIN_VERDICTS, 3);
    op->values[0] = text_value(batch, app);
    op->values[1] = number_value(rollout);
    op->values[2] = number_value(each);
}

void batch_put_meta(struct store_batch *batch, const char *key, const char *value)
{
    set_text(batch, SQL_PUT_META, key, value);
}

void batch_put_meta_u64(struct store_batch *batch, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    batch_put_meta(batch, key, text);
}
