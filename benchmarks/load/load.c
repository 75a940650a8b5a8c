/* The command line of the load generator: see README.md beside it. */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static double number(const char *text, const char *name)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != 0 || value < 0)
        fail("--%s is a number, not %s", name, text);
    return value;
}

static struct settings settings_from(int count, char **arguments)
{
    enum { PORT, PID, CONNECTIONS, IN_FLIGHT, SIZE, FRAME, WARM_UP, MESSAGES, LIMIT,
           TEXT, RAW, DROP, DEFLATE, NO_TAKEOVER };
    static const struct option options[] = {
        {"port", required_argument, NULL, PORT},
        {"pid", required_argument, NULL, PID},
        {"connections", required_argument, NULL, CONNECTIONS},
        {"in-flight", required_argument, NULL, IN_FLIGHT},
        {"size", required_argument, NULL, SIZE},
        {"frame", required_argument, NULL, FRAME},
        {"warm-up", required_argument, NULL, WARM_UP},
        {"messages", required_argument, NULL, MESSAGES},
        {"limit", required_argument, NULL, LIMIT},
        {"text", no_argument, NULL, TEXT},
        {"raw", no_argument, NULL, RAW},
        {"drop", no_argument, NULL, DROP},
        {"deflate", no_argument, NULL, DEFLATE},
        {"no-takeover", no_argument, NULL, NO_TAKEOVER},
        {0},
    };
    struct settings settings = {
        .connections = 1, .in_flight = 1, .size = 32, .messages = 1000, .limit = 30,
    };
    int option, index = 0;
    while ((option = getopt_long(count, arguments, "", options, &index)) != -1) {
        double value = optarg ? number(optarg, options[index].name) : 0;
        switch (option) {
        case PORT: settings.port = (int)value; break;
        case PID: settings.pid = (int)value; break;
        case CONNECTIONS: settings.connections = (int)value; break;
        case IN_FLIGHT: settings.in_flight = (int)value; break;
        case SIZE: settings.size = (size_t)value; break;
        case FRAME: settings.frame = (size_t)value; break;
        case WARM_UP: settings.warm_up = (long)value; break;
        case MESSAGES: settings.messages = (long)value; break;
        case LIMIT: settings.limit = (int)value; break;
        case TEXT: settings.text = true; break;
        case RAW: settings.raw = true; break;
        case DROP: settings.drop = true; break;
        case DEFLATE: settings.deflate = true; break;
        case NO_TAKEOVER: settings.deflate = settings.no_takeover = true; break;
        default: exit(2);
        }
    }
    if (optind != count - 1)
        fail("give one mode: echo, broadcast, stream, handshake or idle");
    settings.mode = arguments[optind];
    if (!settings.port || !settings.pid || !settings.connections || !settings.in_flight)
        fail("--port, --pid, --connections and --in-flight are at least 1");
    return settings;
}

/* Open connections and close them again until there were so many, or for so long. Adds what the
 * server took for either; returns how many there were. */
static long open_and_close(const struct settings *settings, struct connection *all, long most,
                           double seconds, struct mark *opening, struct mark *closing)
{
    int count = settings->connections;
    bool says_so = !settings->raw && !settings->drop;
    uint64_t start = now();
    long done = 0;
    while (done < most && (done == 0 || (double)(now() - start) < seconds * 1e9)) {
        struct mark begin = mark_now(settings->pid), opened;
        connections_open(all, count, settings);
        opened = mark_now(settings->pid);
        for (int index = 0; index < count; index++)
            connection_leave(&all[index], says_so);
        for (int index = 0; index < count; index++)
            connection_left(&all[index], says_so);
        mark_add(opening, begin, opened);
        mark_add(closing, opened, mark_end(settings->pid));
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

/* Hold connections open: a turn is how many are to be open, and so is the answer. */
void run_idle(const struct settings *settings)
{
    struct connection *all = calloc((size_t)settings->connections, sizeof *all);
    double wanted;
    int open = 0;
    if (all == NULL)
        fail("no memory for %d connections", settings->connections);
    while (turn_comes(&wanted)) {
        if (wanted < open || wanted > settings->connections)
            fail("%d to %d connections can be asked for", open, settings->connections);
        connections_open(all + open, (int)wanted - open, settings);
        open = (int)wanted;
        printf("%d\n", open);
    }
}

/* Say that all is ready, or pass on what the last turn gave, and wait for the next one: a line of
 * standard input with a number, which is how many seconds it takes where nothing else is said.
 * False at its end. */
bool turn_comes(double *asked)
{
    static bool told;
    if (!told)
        puts("ready");
    told = true;
    fflush(stdout);
    return scanf("%lf", asked) == 1;
}

/* As many open files as this process may have. */
static void raise_limit(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*run)(const struct settings *);
    } modes[] = {
        {"echo", run_messages},        {"broadcast", run_messages}, {"stream", run_stream},
        {"handshake", run_handshakes}, {"idle", run_idle},
    };
    struct settings settings = settings_from(count, arguments);
    raise_limit();
    alarm((unsigned)settings.limit);
    for (size_t index = 0; index < sizeof modes / sizeof *modes; index++) {
        if (strcmp(modes[index].name, settings.mode) == 0) {
            modes[index].run(&settings);
            return 0;
        }
    }
    fail("there is no mode %s", settings.mode);
}
