/* Turns, as standard input asks for them. */
#include "load.h"

/* Print `ready`, or flush the report of the last turn, and wait for a line with a number: the seconds
 * of the next turn, unless a mode says otherwise. False at the end of the input. */
bool turn_comes(double *asked)
{
    static bool was_ready;
    if (!was_ready)
        puts("ready");
    was_ready = true;
    fflush(stdout);
    return scanf("%lf", asked) == 1;
}
