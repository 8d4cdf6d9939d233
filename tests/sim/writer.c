/* The store's thread: its steps are made at moments that the seed chooses. */
#include "sim.h"

#include "store/store_internal.h"

static struct {
    struct store *store;
    bool begun, asked;
    uint64_t number; /* of the step that was asked for */
} writer;

void sim_step_writer(void);

static void on_step(void *arg, uint64_t number)
{
    (void)arg;
    if (writer.store != NULL && writer.number == number)
        sim_step_writer();
}

static void ask(void)
{
    if (writer.asked || writer.store == NULL)
        return;
    writer.asked = true;
    int64_t slow = sim_chance(5) && !sim.calm ? sim_between(0, 300 * SIM_MS) : 0;
    sim_at(sim_between(100, 4 * SIM_MS) + slow, on_step, NULL, ++writer.number);
}

/* What goes to the disk now, in the words of the tables. */
static void tell_queue(const struct store *store)
{
    static const char *const words[] = {
#define X(name, text) [name] = "put " text,
        TABLES(X)
#undef X
            [SQL_DELETE_INSTANCE] = "delete instance",
        [SQL_DELETE_APP] = "delete app",
        [SQL_DELETE_RELEASE] = "delete release",
        [SQL_SET_RELEASE_STATUS] = "set release",
        [SQL_END_ROLLOUT] = "end rollout",
        [STATEMENTS_COUNT] = NULL,
    };
    for (const struct store_batch *b = store->queue; b != NULL; b = b->next)
        for (const struct operation *op = b->head; op != NULL; op = op->next)
            for (size_t i = 0; i < op->values_len && op->statement != TABLE_EVENT; i++)
                if (op->values[i].text != NULL && (op->statement != TABLE_INSTANCE || i == 1)) {
                    sim_note("    %s%s %s", b->head == op ? "write: " : "       ",
                             words[op->statement], op->values[i].text);
                    break;
                }
}

/* One step, in the controller's place: it may be killed in the middle. */
bool writer_due(void)
{
    struct store *store = writer.store;
    writer.asked = false;
    if (sim.options.trace)
        tell_queue(store);
    if (!writer.begun)
        writer_begin(store);
    else
        writer_step(store);
    writer.begun = true;
    if (store->queue != NULL || store->maintain)
        ask();
    return true;
}

void writer_abandon(void)
{
    writer.store = NULL;
    writer.number++;
    writer.asked = writer.begun = false;
}

/* ---- what the store calls ---- */

int thread_start(struct store *store, struct error *err)
{
    (void)err;
    writer.store = store;
    writer.begun = false;
    writer.asked = false;
    ask();
    return 0;
}

void thread_wake(struct store *store)
{
    ASSERT(store == writer.store);
    ask();
}

void thread_wait(struct store *store)
{
    while (store->done == NULL)
        writer_step(store);
}

void thread_stop(struct store *store)
{
    if (store != writer.store)
        return;
    while (writer_step(store))
        ;
    writer_abandon();
}
