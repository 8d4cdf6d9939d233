/* SQLite's files, in memory: what is written stays when the process is killed, what was not synced
 * may go when the power does. */
#include "sim.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { FILES = 6, REGIONS = 8, SHM_LOCKS = SQLITE_SHM_NLOCK };

/* What a write that is not synced yet has replaced. */
struct undo {
    size_t at, len, size_before;
    size_t kept; /* bytes that there were; behind them the file grew */
    unsigned char *bytes;
};

struct file {
    char name[512];
    bool exists;
    unsigned char *data;
    size_t size, cap;
    struct {
        struct undo *items;
        size_t len, cap;
    } undos;
    void *regions[REGIONS];
    int shared[SHM_LOCKS], exclusive[SHM_LOCKS];
    int locks[5]; /* how many handles hold each level */
};

struct handle {
    sqlite3_file base; /* first */
    struct file *file;
    int level;
    unsigned shared, exclusive; /* bits of shm locks */
};

static struct file files[FILES];
static struct {
    unsigned char *data;
    size_t size;
} template;
static struct {
    bool full, broken;
    uint64_t room; /* that is left although it is full */
    int last_errno;
} disk;

static int refuse(int code, int system)
{
    disk.last_errno = system;
    sim.fault_until_us = sim_now();
    return code;
}

void disk_full(bool full)
{
    disk.full = full;
    disk.room = 0;
    sim.fault_until_us = sim_now();
}

void disk_broken(bool broken)
{
    disk.broken = broken;
    sim.fault_until_us = sim_now();
}

bool disk_failing(void)
{
    return disk.full || disk.broken;
}

void disk_free(uint64_t bytes)
{
    disk.room += bytes;
}

/* ---- files ---- */

static struct file *find(const char *name, bool make)
{
    struct file *empty = NULL;
    for (size_t i = 0; i < FILES; i++) {
        if (files[i].exists && strcmp(files[i].name, name) == 0)
            return &files[i];
        if (!files[i].exists && empty == NULL)
            empty = &files[i];
    }
    if (!make)
        return NULL;
    ASSERT(empty != NULL && strlen(name) < sizeof empty->name);
    snprintf(empty->name, sizeof empty->name, "%s", name);
    empty->exists = true;
    empty->size = 0;
    return empty;
}

static void forget_undos(struct file *f)
{
    for (size_t i = 0; i < f->undos.len; i++)
        free(f->undos.items[i].bytes);
    f->undos.len = 0;
}

static void reserve(struct file *f, size_t size)
{
    if (size <= f->cap)
        return;
    size_t cap = f->cap != 0 ? f->cap : 1 << 16;
    while (cap < size)
        cap *= 2;
    f->data = xrealloc(f->data, cap, 1);
    memset(f->data + f->cap, 0, cap - f->cap);
    f->cap = cap;
}

static void remember(struct file *f, size_t at, size_t len)
{
    if (!sim.faults.reboots)
        return;
    struct undo *u = vec_push(&f->undos);
    *u = (struct undo){.at = at, .len = len, .size_before = f->size};
    if (at < f->size)
        u->kept = f->size - at < len ? f->size - at : len;
    u->bytes = xcalloc(1, u->kept + 1);
    memcpy(u->bytes, f->data + at, u->kept);
}

static struct file *of(sqlite3_file *handle)
{
    return ((struct handle *)handle)->file;
}

static int file_read_at(sqlite3_file *handle, void *out, int len, sqlite3_int64 at)
{
    const struct file *f = of(handle);
    size_t from = (size_t)at, n = (size_t)len;
    size_t there = from < f->size ? f->size - from : 0;
    if (there >= n) {
        memcpy(out, f->data + from, n);
        return SQLITE_OK;
    }
    memcpy(out, f->data + from, there);
    memset((char *)out + there, 0, n - there);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write_at(sqlite3_file *handle, const void *data, int len, sqlite3_int64 at)
{
    struct file *f = of(handle);
    size_t end = (size_t)at + (size_t)len;
    sim_boundary("a write");
    if (disk.broken)
        return refuse(SQLITE_IOERR_WRITE, EIO);
    if (disk.full && end > f->size) {
        uint64_t grows = end - f->size;
        if (grows > disk.room)
            return refuse(SQLITE_FULL, ENOSPC);
        disk.room -= grows;
    }
    remember(f, (size_t)at, (size_t)len);
    reserve(f, end);
    memcpy(f->data + at, data, (size_t)len);
    if (end > f->size)
        f->size = end;
    return SQLITE_OK;
}

static int file_truncate(sqlite3_file *handle, sqlite3_int64 size)
{
    struct file *f = of(handle);
    sim_boundary("a truncation");
    if ((size_t)size < f->size) {
        remember(f, (size_t)size, f->size - (size_t)size);
        memset(f->data + size, 0, f->size - (size_t)size);
        f->size = (size_t)size;
    }
    return SQLITE_OK;
}

static int file_sync(sqlite3_file *handle, int flags)
{
    (void)flags;
    sim_boundary("a sync");
    if (disk.broken)
        return refuse(SQLITE_IOERR_FSYNC, EIO);
    forget_undos(of(handle));
    return SQLITE_OK;
}

static int file_size(sqlite3_file *handle, sqlite3_int64 *size)
{
    *size = (sqlite3_int64)of(handle)->size;
    return SQLITE_OK;
}

/* ---- locks: between the two connections of one controller ---- */

static int file_lock(sqlite3_file *handle, int level)
{
    struct handle *h = (struct handle *)handle;
    int *held = h->file->locks;
    if (level <= h->level)
        return SQLITE_OK;
    int others_exclusive =
        held[SQLITE_LOCK_EXCLUSIVE] + held[SQLITE_LOCK_PENDING] - (h->level >= SQLITE_LOCK_PENDING);
    int others_reserved =
        others_exclusive + held[SQLITE_LOCK_RESERVED] - (h->level == SQLITE_LOCK_RESERVED);
    int others = others_reserved + held[SQLITE_LOCK_SHARED] - (h->level == SQLITE_LOCK_SHARED);
    if ((level == SQLITE_LOCK_SHARED && others_exclusive > 0) ||
        (level == SQLITE_LOCK_RESERVED && others_reserved > 0) ||
        (level >= SQLITE_LOCK_PENDING && others > 0))
        return SQLITE_BUSY;
    held[h->level]--;
    held[level]++;
    h->level = level;
    return SQLITE_OK;
}

static int file_unlock(sqlite3_file *handle, int level)
{
    struct handle *h = (struct handle *)handle;
    if (level >= h->level)
        return SQLITE_OK;
    h->file->locks[h->level]--;
    h->file->locks[level]++;
    h->level = level;
    return SQLITE_OK;
}

static int file_check_reserved(sqlite3_file *handle, int *out)
{
    const int *held = of(handle)->locks;
    *out = held[SQLITE_LOCK_RESERVED] + held[SQLITE_LOCK_PENDING] + held[SQLITE_LOCK_EXCLUSIVE] > 0;
    return SQLITE_OK;
}

static int shm_map(sqlite3_file *handle, int region, int size, int extend, void volatile **out)
{
    struct file *f = of(handle);
    ASSERT(region < REGIONS);
    if (f->regions[region] == NULL && extend)
        f->regions[region] = xcalloc(1, (size_t)size);
    *out = f->regions[region];
    return SQLITE_OK;
}

static int shm_lock(sqlite3_file *handle, int first, int n, int flags)
{
    struct handle *h = (struct handle *)handle;
    struct file *f = h->file;
    bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    for (int i = first; i < first + n; i++) {
        unsigned bit = 1u << i;
        bool mine = ((exclusive ? h->exclusive : h->shared) & bit) != 0;
        if ((flags & SQLITE_SHM_UNLOCK) != 0) {
            if (mine && exclusive)
                f->exclusive[i]--;
            else if (mine)
                f->shared[i]--;
            h->exclusive &= exclusive ? ~bit : ~0u;
            h->shared &= exclusive ? ~0u : ~bit;
        } else if (!mine && (f->exclusive[i] > 0 || (exclusive && f->shared[i] > 0))) {
            return SQLITE_BUSY; /* n > 1 only when the first are free together: see sqlite3.h */
        }
    }
    for (int i = first; i < first + n && (flags & SQLITE_SHM_LOCK) != 0; i++) {
        unsigned bit = 1u << i;
        if (((exclusive ? h->exclusive : h->shared) & bit) != 0)
            continue;
        f->exclusive[i] += exclusive;
        f->shared[i] += !exclusive;
        h->exclusive |= exclusive ? bit : 0;
        h->shared |= exclusive ? 0 : bit;
    }
    return SQLITE_OK;
}

static void shm_barrier(sqlite3_file *handle)
{
    (void)handle;
}

static void drop_regions(struct file *f)
{
    for (size_t i = 0; i < REGIONS; i++) {
        free(f->regions[i]);
        f->regions[i] = NULL;
    }
}

static int shm_unmap(sqlite3_file *handle, int delete)
{
    if (delete)
        drop_regions(of(handle));
    return SQLITE_OK;
}

static int file_close(sqlite3_file *handle)
{
    struct handle *h = (struct handle *)handle;
    h->file->locks[h->level]--;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *handle, int op, void *arg)
{
    (void)handle, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int sector_size(sqlite3_file *handle)
{
    (void)handle;
    return 4096;
}

static int characteristics(sqlite3_file *handle)
{
    (void)handle;
    return 0;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read_at,
    .xWrite = file_write_at,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

/* ---- the file system ---- */

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *out, int flags, int *given)
{
    (void)vfs;
    struct handle *h = (struct handle *)out;
    *h = (struct handle){.base = {.pMethods = NULL}};
    ASSERT(name != NULL); /* temporary tables are in memory */
    h->file = find(name, (flags & SQLITE_OPEN_CREATE) != 0);
    if (h->file == NULL)
        return SQLITE_CANTOPEN;
    h->base.pMethods = &methods;
    h->file->locks[0]++;
    if (given != NULL)
        *given = flags;
    return SQLITE_OK;
}

static int delete_file(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs, (void)sync;
    sim_boundary("a deletion");
    struct file *f = find(name, false);
    if (f == NULL)
        return SQLITE_IOERR_DELETE_NOENT;
    forget_undos(f);
    memset(f->data, 0, f->size);
    f->size = 0;
    f->exists = false;
    return SQLITE_OK;
}

static int access_file(sqlite3_vfs *vfs, const char *name, int flags, int *there)
{
    (void)vfs, (void)flags;
    const struct file *f = find(name, false);
    *there = f != NULL && f->size > 0;
    return SQLITE_OK;
}

static int full_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    (void)vfs;
    snprintf(out, (size_t)size, "%s", name);
    return SQLITE_OK;
}

static int randomness(sqlite3_vfs *vfs, int len, char *out)
{
    (void)vfs;
    for (int i = 0; i < len; i++)
        out[i] = (char)sim_pick(256);
    return len;
}

static int sleep_us(sqlite3_vfs *vfs, int us)
{
    (void)vfs, (void)us;
    sim_fail("SQLite waits for a lock");
}

static int current_time(sqlite3_vfs *vfs, double *days)
{
    (void)vfs;
    *days = 2440587.5 + (double)sim_now() / (86400.0 * SIM_SECOND);
    return SQLITE_OK;
}

static int last_error(sqlite3_vfs *vfs, int len, char *out)
{
    (void)vfs, (void)len, (void)out;
    return disk.last_errno;
}

void disk_init(void)
{
    static sqlite3_vfs vfs = {
        .iVersion = 1,
        .szOsFile = sizeof(struct handle),
        .mxPathname = 511,
        .zName = "sim",
        .xOpen = open_file,
        .xDelete = delete_file,
        .xAccess = access_file,
        .xFullPathname = full_path,
        .xRandomness = randomness,
        .xSleep = sleep_us,
        .xCurrentTime = current_time,
        .xGetLastError = last_error,
    };
    sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    sqlite3_initialize();
    sqlite3_vfs_register(&vfs, 1);
}

static struct file *database(void)
{
    char name[128];
    snprintf(name, sizeof name, "%s/state.db", sim.data);
    return find(name, true);
}

/* A new database with its schema, made once for all seeds. */
void disk_keep_as_template(void)
{
    const struct file *f = database();
    template.data = xcalloc(1, f->size);
    template.size = f->size;
    memcpy(template.data, f->data, f->size);
    disk_abandon();
    for (size_t i = 0; i < FILES; i++)
        files[i].exists = false;
}

void disk_begin(void)
{
    struct file *f = database();
    reserve(f, template.size + 1);
    if (template.size > 0)
        memcpy(f->data, template.data, template.size);
    f->size = template.size;
}

void disk_abandon(void)
{
    for (size_t i = 0; i < FILES; i++) {
        drop_regions(&files[i]);
        memset(files[i].locks, 0, sizeof files[i].locks);
        memset(files[i].shared, 0, sizeof files[i].shared);
        memset(files[i].exclusive, 0, sizeof files[i].exclusive);
    }
}

/* Each write since the last sync may have come to the disk or not. */
void disk_power_cut(void)
{
    for (size_t i = 0; i < FILES; i++) {
        struct file *f = &files[i];
        for (size_t k = f->undos.len; f->exists && k-- > 0;) {
            const struct undo *u = &f->undos.items[k];
            if (sim_chance(50))
                continue;
            memcpy(f->data + u->at, u->bytes, u->kept);
            if (u->at + u->kept < f->size)
                memset(f->data + u->at + u->kept, 0, u->len - u->kept);
            if (k + 1 == f->undos.len)
                f->size = u->size_before;
        }
        forget_undos(f);
    }
}
