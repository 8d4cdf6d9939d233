/* What nghttp2 tells about frames, and what it asks for. It checks the protocol (RFC 9113), we the
 * peer's manners: see h2_limits.h. */
#include "gateway/h2_session.h"

#include "base/vec.h"
#include "gateway/h2_limits.h"

#include <string.h>

static struct h2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return nghttp2_session_get_stream_user_data(ng, id);
}

/* ---- frames that come
 * ---------------------------------------------------------------------------------- */

/* Frames that cost us something and bring the peer nothing. Of an instance resets are answers. */
static bool has_price(const struct h2_session *s, const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_DATA: return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM);
    case NGHTTP2_RST_STREAM: return s->client != NULL;
    case NGHTTP2_HEADERS:
    case NGHTTP2_WINDOW_UPDATE: /* as many as there is DATA; nghttp2 has no answer to it */
        return false;
    default: return true;
    }
}

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user)
{
    (void)ng;
    if (has_price(user, hd))
        h2_pay(user);
    return 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    (void)ng, (void)frame;
    h2_block_release(&s->block);
    s->head_open = true;
    s->head_from_ms = s->worker->now_ms;
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct h2_session *s = user;
    (void)ng, (void)frame, (void)flags;
    h2_block_field(&s->block, (const char *)name, name_len, (const char *)value, value_len);
    if (s->block.fields <= H2_MAX_FIELDS)
        return 0;
    s->head_open = false;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* Without this, nghttp2 leaves such fields out. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                             void *user)
{
    (void)ng, (void)frame, (void)name, (void)name_len, (void)value, (void)value_len, (void)flags;
    ((struct h2_session *)user)->head_open = false;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* Malformed ones end here too; nghttp2 has reset them. */
static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int why, void *user)
{
    (void)ng, (void)frame, (void)why;
    ((struct h2_session *)user)->head_open = false;
    h2_pay(user);
    return 0;
}

static void refuse_stream(struct h2_session *s, int32_t id)
{
    nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
}

static void take_request(struct h2_session *s, int32_t id, bool ended)
{
    struct chunk *head = h2_block_request(&s->block, ended);
    s->greeted = true;
    if (head == NULL && s->block.status == 0) {
        refuse_stream(s, id);
        return;
    }
    if (head == NULL)
        h2_pay(s);
    if (h2_stream_new(s, id, head, ended) < 0) {
        chunk_put(&s->worker->chunks, head);
        refuse_stream(s, id);
    }
}

/* END_STREAM behind a body; the block is empty where no trailers came. */
static void take_end(struct h2_session *s, int32_t id)
{
    struct h2_stream *stream = stream_of(s->ng, id);
    if (stream == NULL || stream->ended)
        return;
    struct chunk *trailers = h2_block_trailers(&s->block);
    if (trailers == NULL)
        nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id,
                                  s->block.status != 0 ? NGHTTP2_PROTOCOL_ERROR
                                                       : NGHTTP2_INTERNAL_ERROR);
    else
        h2_stream_ended(stream, trailers);
}

/* Of an answer: its head, one of those before it, or the end of its body. */
static void take_answer(struct h2_session *s, int32_t id, bool ended)
{
    struct h2_stream *stream = stream_of(s->ng, id);
    if (s->block.code.len == 0) {
        take_end(s, id);
        return;
    }
    if (stream == NULL)
        return;
    struct chunk *head = h2_block_answer(&s->block, ended, stream->head_only);
    if (head == NULL)
        nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR);
    else
        h2_stream_answer(stream, head, ended);
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    (void)ng;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        s->head_open = false;
        if (s->client == NULL)
            take_answer(s, frame->hd.stream_id, ended);
        else if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
            take_request(s, frame->hd.stream_id, ended);
        else
            take_end(s, frame->hd.stream_id);
        h2_block_release(&s->block);
    } else if (frame->hd.type == NGHTTP2_SETTINGS && s->client == NULL) {
        h2_origin_settled(s);
    } else if (frame->hd.type == NGHTTP2_DATA && ended) {
        take_end(s, frame->hd.stream_id);
    }
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    struct h2_session *s = user;
    struct h2_stream *stream = stream_of(ng, id);
    (void)flags;
    h2_earn(s);
    if (stream == NULL)
        nghttp2_session_consume_connection(ng, len);
    else if (h2_stream_data(stream, data, len) < 0)
        nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    struct h2_stream *stream = stream_of(ng, id);
    (void)user;
    if (stream != NULL)
        h2_stream_closed(stream, code);
    return 0;
}

/* ---- frames that go
 * ------------------------------------------------------------------------------------ */

static ssize_t put(nghttp2_session *ng, const uint8_t *data, size_t len, int flags, void *user)
{
    struct h2_session *s = user;
    (void)ng, (void)flags;
    size_t room = s->out->cap - s->out->end;
    if (room == 0)
        return NGHTTP2_ERR_WOULDBLOCK;
    if (len > room)
        len = room;
    chunk_add(s->out, data, len);
    return (ssize_t)len;
}

static int put_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t len,
                    nghttp2_data_source *source, void *user)
{
    struct h2_session *s = user;
    enum { FRAME_HEAD = 9 };
    (void)ng, (void)frame;                                  /* never padded */
    if (len > ((struct h2_stream *)source->ptr)->out_bytes) /* dropped meanwhile; its RST waits */
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (s->out->cap - s->out->end < FRAME_HEAD + len)
        return NGHTTP2_ERR_WOULDBLOCK;
    chunk_add(s->out, head, FRAME_HEAD);
    h2_stream_take(source->ptr, s->out, len);
    return 0;
}

/* The answer is out. What is left of the request is not wanted (RFC 9113 section 8.1). */
static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    int32_t id = frame->hd.stream_id;
    if (frame->hd.type == NGHTTP2_DATA)
        h2_earn(s);
    bool may_end = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (s->client != NULL && may_end && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        nghttp2_session_get_stream_remote_close(ng, id) == 0)
        nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
    return 0;
}

/* A head that cannot be sent (too long): the stream must not hang. */
static int on_frame_not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int why, void *user)
{
    const struct h2_session *s = user;
    (void)why;
    if (s->client != NULL && frame->hd.type == NGHTTP2_HEADERS &&
        stream_of(ng, frame->hd.stream_id) != NULL)
        nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_INTERNAL_ERROR);
    return 0;
}

/* ---- a session
 * ----------------------------------------------------------------------------------------- */

static void set_callbacks(nghttp2_session_callbacks *c)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(c, put);
    nghttp2_session_callbacks_set_send_data_callback(c, put_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_frame_not_sent);
}

static bool greet(nghttp2_session *ng, bool server)
{
    static const nghttp2_settings_entry as_server[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_MAX_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_MAX_HEADER_LIST},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    static const nghttp2_settings_entry as_client[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_MAX_HEADER_LIST},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    const nghttp2_settings_entry *settings = server ? as_server : as_client;
    size_t len = server ? COUNT_OF(as_server) : COUNT_OF(as_client);
    return nghttp2_submit_settings(ng, NGHTTP2_FLAG_NONE, settings, len) == 0 &&
           nghttp2_session_set_local_window_size(ng, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW) ==
               0;
}

nghttp2_session *h2_frames_session(struct h2_session *s)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    nghttp2_session *ng = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0) {
        set_callbacks(callbacks);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_max_outbound_ack(option, H2_MAX_QUEUED);
        nghttp2_option_set_max_continuations(option, H2_MAX_CONTINUATIONS);
        /* Resets are counted by h2_pay(). */
        nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, UINT64_MAX);
        if (s->client != NULL)
            nghttp2_session_server_new2(&ng, callbacks, s, option);
        else
            nghttp2_session_client_new2(&ng, callbacks, s, option);
    }
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    if (ng != NULL && !greet(ng, s->client != NULL)) {
        nghttp2_session_del(ng);
        ng = NULL;
    }
    return ng;
}
