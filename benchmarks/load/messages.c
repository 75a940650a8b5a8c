/* Echo, broadcast and rooms: messages go out, and come back as they were sent. */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { EVENTS = 256 };

/* Few if they are large, because making them takes time; at least 2. */
static int tape_count(const struct settings *settings)
{
    size_t count = ((size_t)1 << 19) / (settings->size + 1);
    return (int)(count < 2 ? 2 : count > 256 ? 256 : count);
}

static void watch(int epoll, struct connection *one, int operation, bool output)
{
    struct epoll_event event = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.ptr = one};
    if (epoll_ctl(epoll, operation, one->fd, &event) != 0)
        fail("epoll: %s", strerror(errno));
    one->polls_output = output;
}

struct exchange {
    const struct settings *settings;
    bool broadcasts;    /* connection 0 sends to all */
    int count, epoll;
    int first;          /* the first connection that receives */
    struct connection *all;
    struct tape tape;
};

static void grant(struct exchange *run, struct connection *one, int messages, uint64_t time)
{
    connection_grant(one, &run->tape, messages, run->settings->in_flight, time);
    bool wants = connection_send(one, &run->tape, run->settings);
    if (wants != one->polls_output)
        watch(run->epoll, one, EPOLL_CTL_MOD, wants);
}

/* Exchange messages until `messages` were received or the time is up; none is in flight before or
 * after. Returns how many were received. */
static long exchange(struct exchange *run, long messages, double seconds)
{
    const struct settings *settings = run->settings;
    const int starting = run->broadcasts ? 1 : run->count;
    struct epoll_event events[EVENTS];
    long received = 0, in_flight = 0;
    uint64_t start = now(), sent_at = start;
    bool ends = false;

    while (in_flight > 0 || !ends) {
        if (in_flight == 0) {
            sent_at = now();
            for (int index = 0; index < starting; index++)
                grant(run, &run->all[index], settings->in_flight, sent_at);
            in_flight = (long)(run->count - run->first) * settings->in_flight;
        }
        int ready = epoll_wait(run->epoll, events, EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            struct connection *one = events[index].data.ptr;
            int complete = 0, again;
            uint64_t time = 0;
            if (events[index].events & ~(uint32_t)EPOLLOUT) {
                complete = connection_receive(one, &run->tape, settings);
                time = now();
            }
            for (int message = complete; message > 0; message--)
                latency_add(time - (run->broadcasts ? sent_at
                                    : one->times[(one->received - message) % settings->in_flight]));
            received += complete;
            ends = ends || received >= messages;
            again = ends || run->broadcasts ? 0 : complete;
            in_flight -= complete - again;
            if (complete || one->polls_output || one->owes_pong)
                grant(run, one, again, time);
        }
        ends = ends || (received > 0 && (double)(now() - start) >= seconds * 1e9);
    }
    return received;
}

/* Answer pings until the next turn comes: a server closes connections that answer none. */
static bool next_turn(struct exchange *run, double *seconds)
{
    struct epoll_event events[EVENTS];
    turn_ready();
    while (!turn_asked(run->epoll)) {
        int ready = epoll_wait(run->epoll, events, EVENTS, 0);
        for (int index = 0; index < ready; index++) {
            struct connection *one = events[index].data.ptr;
            if (events[index].events & ~(uint32_t)EPOLLOUT &&
                connection_receive(one, &run->tape, run->settings))
                fail("connection %d: a message between turns", one->number);
            grant(run, one, 0, 0);
        }
    }
    return turn_comes(seconds);
}

void run_messages(const struct settings *settings)
{
    struct exchange run = {
        .settings = settings,
        .broadcasts = settings->rooms || strcmp(settings->mode, "broadcast") == 0,
        .count = settings->connections,
        .first = settings->rooms ? 1 : 0,
        .epoll = epoll_create1(EPOLL_CLOEXEC),
        .all = calloc((size_t)settings->connections, sizeof *run.all),
    };
    struct mark sum = {0};
    double seconds;
    long received = 0;

    if (run.all == NULL)
        fail("no memory for %d connections", run.count);
    tape_make(&run.tape, settings, tape_count(settings));
    (settings->listener ? connections_accept : connections_open)(run.all, run.count, settings);
    for (int index = 0; index < run.count; index++) {
        struct connection *one = &run.all[index];
        connection_start(one, run.broadcasts ? 0 : index % run.tape.count, settings);
        one->out = run.tape.starts[one->next];
        watch(run.epoll, one, EPOLL_CTL_ADD, false);
    }
    if (settings->warm_up)
        exchange(&run, settings->warm_up, settings->limit);
    latency_clear();
    while (next_turn(&run, &seconds)) {
        struct mark begin = mark_now(&settings->pids);
        received += exchange(&run, settings->messages, seconds);
        mark_add(&sum, begin, mark_end(&settings->pids));
        printf("{\"messages\": %ld, \"seconds\": %.9f, \"server_cpu\": %.9f, "
               "\"load_cpu\": %.9f, \"faults\": %ld, \"p50\": %.1f, \"p99\": %.1f}\n",
               received, (double)sum.wall / 1e9, (double)sum.server / 1e9, (double)sum.load / 1e9,
               sum.faults, latency_quantile(0.50), latency_quantile(0.99));
    }
}
