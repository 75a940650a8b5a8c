/* Echo and broadcast: messages go out, and come back as they were sent. */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { EVENTS = 256 };

/* Few where they are large, so that making them takes no time; enough to fill what is under way. */
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

static void grant(int epoll, struct connection *one, const struct tape *tape,
                  const struct settings *settings, int messages, uint64_t time)
{
    connection_grant(one, tape, messages, settings->in_flight, time);
    bool wants = connection_send(one, tape);
    if (wants != one->polls_output)
        watch(epoll, one, EPOLL_CTL_MOD, wants);
}

void run_messages(const struct settings *settings)
{
    bool broadcasts = strcmp(settings->mode, "broadcast") == 0, measures = false, ends = false;
    int count = settings->connections, epoll = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = calloc((size_t)count, sizeof *all);
    struct epoll_event events[EVENTS];
    struct tape tape;
    struct mark begin = {0}, end = {0};
    long received = 0, measured = 0, under_way;
    uint64_t sent_at;

    if (all == NULL)
        fail("no memory for %d connections", count);
    tape_make(&tape, settings, tape_count(settings));
    connections_open(all, count, settings);
    for (int index = 0; index < count; index++) {
        connection_start(&all[index], broadcasts ? 0 : index % tape.count, settings);
        all[index].out = tape.starts[all[index].next];
        watch(epoll, &all[index], EPOLL_CTL_ADD, false);
    }
    sent_at = now();
    for (int index = 0; index < (broadcasts ? 1 : count); index++)
        grant(epoll, &all[index], &tape, settings, settings->in_flight, sent_at);
    under_way = (long)count * settings->in_flight;

    while (under_way > 0) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            struct connection *one = events[index].data.ptr;
            int complete = 0, again = ends || broadcasts ? 0 : 1;
            uint64_t time = 0;
            if (events[index].events & ~(uint32_t)EPOLLOUT) {
                complete = connection_receive(one, &tape, settings);
                time = now();
            }
            for (int message = complete; message > 0; message--)
                latency_add(time - (broadcasts ? sent_at
                                    : one->times[(one->received - message) % settings->in_flight]));
            under_way -= complete * (1 - again);
            received += complete;
            if (complete || one->polls_output)
                grant(epoll, one, &tape, settings, complete * again, time);
        }
        if (broadcasts && under_way == 0 && !ends) {
            sent_at = now();
            grant(epoll, &all[0], &tape, settings, 1, sent_at);
            under_way = count;
        }
        if (!measures && received >= settings->warm_up) {
            measures = true;
            latency_clear();
            begin = mark_now(settings->pid);
            measured = received;
        } else if (measures && !ends && received > measured &&
                   (received - measured >= settings->messages ||
                    (double)(now() - begin.wall) >= settings->seconds * 1e9)) {
            ends = true;
            end = mark_now(settings->pid);
            measured = received - measured;
            if (broadcasts && under_way == count)
                break;
        }
    }
    printf("{\"messages\": %ld, \"seconds\": %.9f, \"server_cpu\": %.9f, \"load_cpu\": %.9f, "
           "\"faults\": %ld, \"p50\": %.1f, \"p99\": %.1f}\n",
           measured, (double)(end.wall - begin.wall) / 1e9,
           (double)(end.server - begin.server) / 1e9, (double)(end.load - begin.load) / 1e9,
           end.faults - begin.faults, latency_quantile(0.50), latency_quantile(0.99));
}
