/* Turns, as standard input asks for them. */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Print `ready`, or flush the report of the last turn. */
void turn_ready(void)
{
    static bool was_ready;
    if (!was_ready) {
        setbuf(stdin, NULL); /* what poll reports is all that there is */
        puts("ready");
    }
    was_ready = true;
    fflush(stdout);
}

/* Wait for a turn, or for events at `epoll`; return whether it is the turn, or the end of the input. */
bool turn_asked(int epoll)
{
    struct pollfd both[] = {
        {.fd = STDIN_FILENO, .events = POLLIN},
        {.fd = epoll, .events = POLLIN},
    };
    if (poll(both, 2, -1) < 0 && errno != EINTR)
        fail("poll: %s", strerror(errno));
    return both[0].revents != 0;
}

/* Wait for a line with a number: the seconds of the next turn, unless a mode says otherwise. False at
 * the end of the input. */
bool turn_comes(double *asked)
{
    turn_ready();
    return scanf("%lf", asked) == 1;
}
