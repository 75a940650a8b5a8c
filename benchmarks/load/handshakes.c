/* Handshakes: connections are opened and closed, again and again. */
#include "load.h"

#include <stdlib.h>

/* Open and close connections until `most` are done or the time is up. Adds the server's time for
 * opening and for closing; returns the number of connections. */
static long open_and_close(const struct settings *settings, struct connection *all, long most,
                           double seconds, struct mark *opening, struct mark *closing)
{
    int count = settings->connections;
    bool sends_close = !settings->raw && !settings->drop;
    uint64_t start = now();
    long done = 0;
    while (done < most && (done == 0 || (double)(now() - start) < seconds * 1e9)) {
        struct mark begin = mark_now(&settings->pids), opened;
        connections_open(all, count, settings);
        opened = mark_now(&settings->pids);
        for (int index = 0; index < count; index++)
            connection_leave(&all[index], sends_close);
        for (int index = 0; index < count; index++)
            connection_left(&all[index], sends_close);
        mark_add(opening, begin, opened);
        mark_add(closing, opened, mark_end(&settings->pids));
        done += count;
    }
    return done;
}

void run_handshakes(const struct settings *settings)
{
    struct connection *all = calloc((size_t)settings->connections, sizeof *all);
    struct mark opening = {0}, closing = {0}, unmeasured = {0};
    double seconds;
    long done = 0;
    if (all == NULL)
        fail("no memory for %d connections", settings->connections);
    open_and_close(settings, all, settings->warm_up, settings->limit, &unmeasured, &unmeasured);
    while (turn_comes(&seconds)) {
        done += open_and_close(settings, all, settings->messages, seconds, &opening,
                               &closing);
        printf("{\"messages\": %ld, \"seconds\": %.9f, \"opening_cpu\": %.9f, "
               "\"closing_cpu\": %.9f}\n",
               done, (double)(opening.wall + closing.wall) / 1e9, (double)opening.server / 1e9,
               (double)closing.server / 1e9);
    }
}
