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
    enum { PORT, PID, CONNECTIONS, IN_FLIGHT, SIZE, FRAME, WARM_UP, MESSAGES, SECONDS, LIMIT,
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
        {"seconds", required_argument, NULL, SECONDS},
        {"limit", required_argument, NULL, LIMIT},
        {"text", no_argument, NULL, TEXT},
        {"raw", no_argument, NULL, RAW},
        {"drop", no_argument, NULL, DROP},
        {"deflate", no_argument, NULL, DEFLATE},
        {"no-takeover", no_argument, NULL, NO_TAKEOVER},
        {0},
    };
    struct settings settings = {
        .connections = 1, .in_flight = 1, .size = 32, .messages = 1000, .seconds = 1, .limit = 30,
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
        case SECONDS: settings.seconds = value; break;
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

/* Open connections and close them again, until it is time. */
void run_handshakes(const struct settings *settings)
{
    int count = settings->connections;
    bool says_so = !settings->raw && !settings->drop;
    struct connection *all = calloc((size_t)count, sizeof *all);
    uint64_t start = now(), opening = 0, closing = 0;
    long done = -settings->warm_up;
    if (all == NULL)
        fail("no memory for %d connections", count);
    while (done < 1 || (done < settings->messages &&
                        (double)(now() - start) < settings->seconds * 1e9)) {
        struct mark begin = mark_now(settings->pid), opened, end;
        connections_open(all, count, settings);
        opened = mark_now(settings->pid);
        for (int index = 0; index < count; index++)
            connection_leave(&all[index], says_so);
        for (int index = 0; index < count; index++)
            connection_left(&all[index], says_so);
        end = mark_now(settings->pid);
        done += count;
        if (done <= 0) {
            start = now();
            continue;
        }
        opening += opened.server - begin.server;
        closing += end.server - opened.server;
    }
    printf("{\"messages\": %ld, \"seconds\": %.9f, \"opening_cpu\": %.9f, "
           "\"closing_cpu\": %.9f}\n",
           done, (double)(now() - start) / 1e9, (double)opening / 1e9, (double)closing / 1e9);
}

/* Hold connections open. Each line of standard input is how many are to be open; the answer to
 * it is the same number. The end of the input is the end. */
void run_idle(const struct settings *settings)
{
    struct connection *all = calloc((size_t)settings->connections, sizeof *all);
    int open = 0, wanted;
    if (all == NULL)
        fail("no memory for %d connections", settings->connections);
    while (scanf("%d", &wanted) == 1) {
        if (wanted < open || wanted > settings->connections)
            fail("%d to %d connections can be asked for", open, settings->connections);
        connections_open(all + open, wanted - open, settings);
        open = wanted;
        printf("%d\n", open);
        fflush(stdout);
    }
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
