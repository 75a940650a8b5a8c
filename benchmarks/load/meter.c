/* Clocks, and how long messages took. */
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t read_clock(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) != 0)
        fail("the server has ended, or its CPU time cannot be read");
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

/* Add whether the server is running or ready to run, and its page faults: they show memory that its C
 * library returns to the system and gets again. */
static void look_at(int pid, struct mark *mark)
{
    char name[32], line[1024], state = 0;
    long faults = -1;
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *file = fopen(name, "r");
    if (file != NULL) {
        const char *rest = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
        if (rest == NULL || sscanf(rest, ") %c %*d %*d %*d %*d %*d %*u %ld", &state, &faults) != 2)
            faults = -1;
        fclose(file);
    }
    if (faults < 0)
        fail("cannot read %s", name);
    mark->runs = mark->runs || state == 'R';
    mark->faults += faults;
}

/* The server's CPU time is the kernel's own account of the whole process, user and system, with
 * all its threads, in nanoseconds. */
struct mark mark_now(const struct numbers *pids)
{
    struct mark mark = {.wall = now(), .load = read_clock(CLOCK_PROCESS_CPUTIME_ID)};
    for (int index = 0; index < pids->count; index++) {
        clockid_t server;
        if (clock_getcpuclockid(pids->all[index], &server) != 0)
            fail("there is no process %d", pids->all[index]);
        mark.server += read_clock(server);
        look_at(pids->all[index], &mark);
    }
    return mark;
}

/* What a server does after its last answer counts as its work: wait until all have nothing to do. The
 * wait itself does not count. */
struct mark mark_end(const struct numbers *pids)
{
    struct mark end = mark_now(pids), last, next = end;
    do {
        last = next;
        usleep(1000);
        next = mark_now(pids);
    } while (next.runs || next.server != last.server);
    end.server = next.server;
    end.faults = next.faults;
    return end;
}

void mark_add(struct mark *sum, struct mark begin, struct mark end)
{
    sum->wall += end.wall - begin.wall;
    sum->server += end.server - begin.server;
    sum->load += end.load - begin.load;
    sum->faults += end.faults - begin.faults;
}

/* A histogram with 32 buckets for each power of two: 3 % apart at most. */
enum { FINE = 5, BUCKETS = 64 << FINE };
static long buckets[BUCKETS];
static long total;

void latency_clear(void)
{
    memset(buckets, 0, sizeof buckets);
    total = 0;
}

void latency_add(uint64_t nanoseconds)
{
    uint64_t value = nanoseconds | 1 << FINE;
    int octave = 63 - __builtin_clzll(value);
    buckets[(octave << FINE) + (int)(value >> (octave - FINE) & ((1 << FINE) - 1))]++;
    total++;
}

double latency_quantile(double part)
{
    long wanted = (long)(part * (double)total), seen = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        seen += buckets[bucket];
        if (seen > wanted) {
            int octave = bucket >> FINE;
            uint64_t fine = (uint64_t)(bucket & ((1 << FINE) - 1)) | 1 << FINE;
            return (double)(fine << (octave - FINE)) / 1000;
        }
    }
    return 0;
}
