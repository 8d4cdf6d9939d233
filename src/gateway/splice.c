#include "gateway/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct splice_pipe {
    int to, from;
    size_t bytes;     /* in it */
    struct link link; /* worker.pipes, while it is empty */
};

static bool is_plain(const struct endpoint *e)
{
    return e->tls == NULL && e->stream == NULL;
}

bool splice_pays(const struct exchange *x)
{
    return x->pipe != NULL ||
           (x->answer == ANSWER_BODY && x->body.framing == HTTP1_BODY_LENGTH &&
            x->body.left >= SPLICE_LEAST && x->min_rate == 0 && !x->printed && !x->copy &&
            x->upstream->in == NULL && is_plain(&x->client->endpoint) &&
            is_plain(&x->upstream->endpoint) &&
            (!link_alone(&x->worker->pipes) || x->worker->pipes_len < SPLICE_PIPES));
}

/* ---- pipes
 * -----------------------------------------------------------------------------------------------
 */

static void pipe_close(struct worker *w, struct splice_pipe *p)
{
    close(p->to);
    close(p->from);
    free(p);
    w->pipes_len--;
}

static struct splice_pipe *pipe_new(struct worker *w)
{
    int fds[2];
    struct splice_pipe *p = malloc(sizeof *p);
    if (p == NULL || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        free(p);
        return NULL;
    }
    *p = (struct splice_pipe){.to = fds[1], .from = fds[0]};
    link_init(&p->link);
    w->pipes_len++;
    /* A small one is worse than copying: pipe(7), pipe-user-pages-soft. */
    if (fcntl(p->to, F_SETPIPE_SZ, SPLICE_PIPE) < 0) {
        pipe_close(w, p);
        return NULL;
    }
    return p;
}

static struct splice_pipe *pipe_take(struct worker *w)
{
    if (link_alone(&w->pipes))
        return pipe_new(w);
    return link_owner(link_take(&w->pipes), struct splice_pipe, link);
}

void splice_forget(struct exchange *x)
{
    struct splice_pipe *p = x->pipe;
    x->pipe = NULL;
    if (p != NULL && p->bytes > 0)
        pipe_close(x->worker, p);
    else if (p != NULL)
        link_after(&x->worker->pipes, &p->link);
}

void splice_release(struct worker *w)
{
    while (!link_alone(&w->pipes))
        pipe_close(w, link_owner(link_take(&w->pipes), struct splice_pipe, link));
}

/* ---- bytes
 * -----------------------------------------------------------------------------------------------
 */

static ssize_t move(int from, int to, size_t most)
{
    ssize_t n;
    do
        n = splice(from, NULL, to, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    return n;
}

static enum splice_result fill(struct exchange *x)
{
    struct endpoint *e = &x->upstream->endpoint;
    if (!e->readable)
        return SPLICE_WAITS;
    ssize_t n = move(e->fd, x->pipe->to, x->body.left < SPLICE_PIPE ? x->body.left : SPLICE_PIPE);
    if (n > 0) {
        x->pipe->bytes = (size_t)n;
        x->body.left -= (uint64_t)n;
        return SPLICE_MOVED;
    }
    e->readable = false; /* the pipe was empty, so it is the socket that is */
    if (n == 0)
        e->hangup = true;
    return n == 0 ? SPLICE_ENDED : errno == EAGAIN ? SPLICE_WAITS : SPLICE_BROKEN;
}

static enum splice_result drain(struct exchange *x)
{
    struct endpoint *e = &x->client->endpoint;
    if (!e->writable)
        return SPLICE_WAITS;
    ssize_t n = move(x->pipe->from, e->fd, x->pipe->bytes);
    if (n > 0) {
        x->pipe->bytes -= (size_t)n;
        x->bytes_out += (uint64_t)n;
        exchange_progress(x);
        return SPLICE_MOVED;
    }
    if (n < 0 && errno != EAGAIN)
        return SPLICE_CLIENT_GONE;
    e->writable = false;
    return SPLICE_WAITS;
}

enum splice_result splice_down(struct exchange *x)
{
    if (x->pipe == NULL && (x->pipe = pipe_take(x->worker)) == NULL)
        return SPLICE_NONE;
    enum splice_result r = x->pipe->bytes > 0 ? SPLICE_MOVED : fill(x);
    if (r == SPLICE_MOVED)
        r = drain(x);
    if (x->pipe->bytes > 0)
        return r;
    splice_forget(x); /* who waits with nothing in it leaves it to others */
    return x->body.left == 0 && r == SPLICE_MOVED ? SPLICE_WHOLE : r;
}
