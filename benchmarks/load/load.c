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
           TEXT, RAW, DEFLATE, NO_TAKEOVER };
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

/* Open connections and close them again, until it is time; only the opening is measured. */
void run_handshakes(const struct settings *settings)
{
    struct connection *all = calloc((size_t)settings->connections, sizeof *all);
    struct mark begin, opened, end;
    double opening = 0, closing = 0, seconds = 0;
    uint64_t start = 0;
    long done = 0, warm = 0;
    if (all == NULL)
        fail("no memory for %d connections", settings->connections);
    while (warm < settings->warm_up || done < 1 ||
           (done < settings->messages && (double)(now() - start) < settings->seconds * 1e9)) {
        begin = mark_now(settings->pid);
        connections_open(all, settings->connections, settings);
        opened = mark_now(settings->pid);
        for (int index = 0; index < settings->connections; index++)
            connection_close(&all[index], settings->raw);
        end = mark_now(settings->pid);
        if (warm < settings->warm_up) {
            warm += settings->connections;
            start = now();
            continue;
        }
        done += settings->connections;
        seconds += (double)(opened.wall - begin.wall) / 1e9;
        opening += (double)(opened.server - begin.server) / 1e9;
        closing += (double)(end.server - opened.server) / 1e9;
    }
    printf("{\"messages\": %ld, \"seconds\": %.9f, \"server_cpu\": %.9f, \"closing_cpu\": %.9f}\n",
           done, seconds, opening, closing);
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
