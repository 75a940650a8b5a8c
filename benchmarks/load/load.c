/* The command line of the load generator: see ../README.md. */
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

static void append(struct numbers *numbers, double value)
{
    if (value < 1 || numbers->count == MOST_NUMBERS)
        fail("--port and --pid are at least 1, and at most %d of each", MOST_NUMBERS);
    numbers->all[numbers->count++] = (int)value;
}

static struct settings settings_from(int count, char **arguments)
{
    enum { PORT, LISTENER, PID, ROOMS, CONNECTIONS, IN_FLIGHT, SIZE, FRAME, WARM_UP, MESSAGES, LIMIT,
           TEXT, RAW, DROP, DEFLATE, TLS };
    static const struct option options[] = {
        {"port", required_argument, NULL, PORT},
        {"listener", required_argument, NULL, LISTENER},
        {"pid", required_argument, NULL, PID},
        {"rooms", required_argument, NULL, ROOMS},
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
        {"tls", no_argument, NULL, TLS},
        {0},
    };
    struct settings settings = {
        .connections = 1, .in_flight = 1, .size = 32, .messages = 1000, .limit = 30,
    };
    int option, index = 0;
    while ((option = getopt_long(count, arguments, "", options, &index)) != -1) {
        double value = optarg ? number(optarg, options[index].name) : 0;
        switch (option) {
        case PORT: append(&settings.ports, value); break;
        case LISTENER: settings.listener = (int)value; break;
        case PID: append(&settings.pids, value); break;
        case ROOMS: settings.rooms = (int)value; break;
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
        case TLS: settings.tls = true; break;
        default: exit(2);
        }
    }
    if (optind != count - 1)
        fail("give one mode: echo, broadcast, rooms, stream, handshake or idle");
    settings.mode = arguments[optind];
    if (!settings.ports.count == !settings.listener || !settings.pids.count)
        fail("give --port or --listener, and --pid");
    if (!settings.connections || !settings.in_flight)
        fail("--connections and --in-flight are at least 1");
    if ((strcmp(settings.mode, "rooms") == 0) != (settings.rooms > 0))
        fail("--rooms is for the mode rooms, and at least 1 there");
    if (settings.listener && (strcmp(settings.mode, "echo") != 0 || settings.deflate))
        fail("--listener is for the mode echo, without compression");
    return settings;
}

/* Raise the limit of open files to the hard limit. */
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
        {"echo", run_messages},  {"broadcast", run_messages},   {"rooms", run_messages},
        {"stream", run_stream},  {"handshake", run_handshakes}, {"idle", run_idle},
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
