/* Idle connections: they are opened and held. */
#include "load.h"

#include <stdlib.h>

/* A turn is the number of connections to hold open, and so is the answer. */
void run_idle(const struct settings *settings)
{
    struct connection *all = calloc((size_t)settings->connections, sizeof *all);
    double wanted;
    int open = 0;
    if (all == NULL)
        fail("no memory for %d connections", settings->connections);
    while (turn_comes(&wanted)) {
        if (wanted < open || wanted > settings->connections)
            fail("%.0f connections asked for, not %d to %d", wanted, open, settings->connections);
        connections_open(all + open, (int)wanted - open, settings);
        open = (int)wanted;
        printf("%d\n", open);
    }
}
