/* One connection: the upgrade, sending from the tape, and the check of what comes back. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What Chromium 156 sends; the key is RFC 6455's own (section 1.3), so that the accept value is known. */
static const char head_format[] =
    "GET %s HTTP/1.1\r\n"
    "Host: 127.0.0.1:%d\r\n"
    "Connection: Upgrade\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.0 Safari/537.36\r\n"
    "Upgrade: websocket\r\n"
    "Origin: http://127.0.0.1:%d\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
/* What rooms greet each connection with, once it gets their messages. */
static const char joined[] = "\x81\x06joined";
static const char accept_value[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

enum { AT_ONCE = 16, BUFFER = 256 * 1024, CLOSE_ANSWER = 4 };
static unsigned char buffer[BUFFER], inflated[BUFFER];

static int connected(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("cannot connect to port %d: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

/* Read and check the answer to the upgrade: a 101 with the right accept value, and after it nothing,
 * or the greeting of a room. */
static void read_answer(struct connection *one, const struct settings *settings, const char *head)
{
    static char answer[4096];
    const char *rest = settings->rooms ? joined : "";
    char *end = NULL;
    size_t have = 0;
    for (;;) {
        ssize_t got = wire_receive(one, answer + have, sizeof answer - 1 - have);
        if (got <= 0)
            fail("connection %d: no answer to the upgrade", one->number);
        have += (size_t)got;
        answer[have] = 0;
        end = strstr(answer, "\r\n\r\n");
        if (settings->raw ? have >= strlen(head) : end != NULL && strlen(end + 4) >= strlen(rest))
            break;
    }
    if (settings->raw) {
        if (strcmp(answer, head) != 0)
            fail("connection %d: the head did not come back", one->number);
        return;
    }
    if (strncmp(answer, "HTTP/1.1 101 ", 13) != 0 || !strstr(answer, accept_value) ||
        strcmp(end + 4, rest) != 0)
        fail("connection %d: not the answer to an upgrade:\n%s", one->number, answer);
    one->inflates = strcasestr(answer, "permessage-deflate") != NULL;
    one->resets = strcasestr(answer, "server_no_context_takeover") != NULL;
    if (settings->deflate && !one->inflates)
        fail("the server did not accept permessage-deflate:\n%s", answer);
}

/* In rooms, connection 0 publishes for all of them, at the first server. The others are members, in
 * turns at the other servers, if there are any; those of a room have numbers that follow on each other. */
static void choose(int number, const struct settings *settings, int *port, char path[32])
{
    const struct numbers *ports = &settings->ports;
    *port = ports->all[0];
    strcpy(path, "/");
    if (settings->rooms && number == 0)
        snprintf(path, 32, "/rooms/%d", settings->rooms);
    else if (settings->rooms) {
        int member = number - 1, members = settings->connections - 1;
        if (ports->count > 1)
            *port = ports->all[1 + member % (ports->count - 1)];
        snprintf(path, 32, "/room/%d", member * settings->rooms / members);
    }
}

void connections_open(struct connection *all, int count, const struct settings *settings)
{
    static char heads[AT_ONCE][1024];
    for (int first = 0; first < count; first += AT_ONCE) {
        int end = first + AT_ONCE < count ? first + AT_ONCE : count;
        for (int index = first; index < end; index++) {
            int port;
            char path[32], *head = heads[index - first];
            choose(index, settings, &port, path);
            snprintf(head, sizeof *heads, head_format, path, port, port);
            all[index] = (struct connection){.fd = connected(port), .number = index};
            if (settings->tls)
                wire_begin_tls(&all[index]);
        }
        for (int index = first; index < end; index++) {
            const char *head = heads[index - first];
            if (settings->tls)
                wire_finish_tls(&all[index]);
            if (wire_send(&all[index], head, strlen(head)) != (ssize_t)strlen(head))
                fail("cannot send the head: %s", strerror(errno));
        }
        for (int index = first; index < end; index++)
            read_answer(&all[index], settings, heads[index - first]);
    }
}

void connection_start(struct connection *one, int first_message, const struct settings *settings)
{
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
    one->next = one->expected = first_message;
    one->times = calloc((size_t)settings->in_flight, sizeof *one->times);
    if (!one->times || (one->inflates && inflateInit2(&one->inflater, -15) != Z_OK))
        fail("no memory for %d connections", settings->connections);
}

/* Allow it to send more messages. */
void connection_grant(struct connection *one, const struct tape *tape, int messages,
                      int in_flight, uint64_t time)
{
    for (; messages > 0; messages--) {
        one->times[one->sent++ % in_flight] = time;
        one->granted += tape->starts[one->next + 1] - tape->starts[one->next];
        one->next = (one->next + 1) % tape->count;
    }
}

/* Send a pong, if one is owed; return whether the socket was full. */
static bool send_pong(struct connection *one, const struct settings *settings)
{
    static const unsigned char key[4] = {0x37, 0xFA, 0x21, 0x3D};
    unsigned char pong[6 + MOST_PING];
    bool masked = !settings->listener;
    if (!one->owes_pong)
        return false;
    size_t size = frame_header(pong, 0x8A, masked, one->ping_size);
    if (masked) {
        memcpy(pong + size, key, sizeof key);
        mask_copy(pong + size + sizeof key, one->ping, one->ping_size, key);
        size += sizeof key;
    } else
        memcpy(pong + size, one->ping, one->ping_size);
    size += one->ping_size;
    ssize_t sent = wire_send(one, pong, size);
    if (sent < 0 && errno == EAGAIN)
        return true;
    if (sent != (ssize_t)size)
        fail("connection %d: cannot send a pong: %s", one->number,
             sent < 0 ? strerror(errno) : "a part was sent");
    one->owes_pong = false;
    return false;
}

/* Send what is granted, and a pong before or after it; return whether the socket was full. */
bool connection_send(struct connection *one, const struct tape *tape,
                     const struct settings *settings)
{
    if (!one->cut && send_pong(one, settings))
        return true;
    while (one->granted > 0) {
        size_t length = tape->starts[tape->count] - one->out;
        if (length > one->granted)
            length = one->granted;
        ssize_t sent = wire_send(one, tape->bytes + one->out, length);
        if (sent < 0) {
            one->cut = errno == EAGAIN;
            if (one->cut)
                return true;
            fail("connection %d: cannot send: %s", one->number, strerror(errno));
        }
        one->granted -= (size_t)sent;
        one->out += (size_t)sent;
        if (one->out == tape->starts[tape->count])
            one->out = 0;
    }
    one->cut = false;
    return send_pong(one, settings);
}

static void check(struct connection *one, const unsigned char *wanted, size_t size,
                  const unsigned char *data, size_t length)
{
    if (length > size - one->right || memcmp(data, wanted + one->right, length) != 0)
        fail("connection %d: message %ld is not what was sent, at or after byte %zu",
             one->number, one->received, one->right);
    one->right += length;
}

static void check_compressed(struct connection *one, const unsigned char *wanted, size_t size,
                             unsigned char *data, size_t length)
{
    z_stream *stream = &one->inflater;
    stream->next_in = data;
    stream->avail_in = (uInt)length;
    do {
        stream->next_out = inflated;
        stream->avail_out = BUFFER;
        int result = inflate(stream, Z_SYNC_FLUSH);
        if (result != Z_OK && result != Z_BUF_ERROR && result != Z_STREAM_END)
            fail("connection %d: message %ld cannot be inflated", one->number, one->received);
        check(one, wanted, size, inflated, BUFFER - stream->avail_out);
    } while (stream->avail_in > 0 || stream->avail_out == 0);
}

static void message_over(struct connection *one, const struct tape *tape)
{
    if (one->right != tape->size)
        fail("connection %d: message %ld ends after %zu bytes", one->number, one->received,
             one->right);
    one->received++;
    one->expected = (one->expected + 1) % tape->count;
    one->right = 0;
    one->inside_message = false;
}

/* Parse a part of a frame's head; return the number of bytes used. */
static size_t take_head(struct connection *one, const struct settings *settings,
                        const unsigned char *data, size_t length)
{
    const int key = settings->listener ? 4 : 0, mask_bit = key ? 0x80 : 0;
    size_t taken = 0;
    while (taken < length) {
        one->head[one->head_size++] = data[taken++];
        if (one->head_size < 2)
            continue;
        int code = one->head[1] & 0x7F, extended = code < 126 ? 0 : code == 126 ? 2 : 8;
        if (one->head_size < 2 + extended + key)
            continue;
        one->left = extended ? 0 : (uint64_t)code;
        for (int index = 0; index < extended; index++)
            one->left = one->left << 8 | one->head[2 + index];
        memcpy(one->key, one->head + one->head_size - key, (size_t)key);
        one->head_size = 0;
        one->unmasked = 0;
        one->inside_frame = true;
        break;
    }
    if (!one->inside_frame)
        return taken;
    one->pings = one->head[0] == 0x89 && one->left <= MOST_PING;
    if (one->pings) {
        one->ping_size = 0;
        return taken;
    }
    int opcode = one->head[0] & 0x0F, wanted = one->inside_message ? 0 : settings->text ? 1 : 2;
    if (opcode != wanted || (one->head[1] & 0x80) != mask_bit || one->head[0] & 0x30)
        fail("connection %d: a frame starts with %02x %02x, not with opcode %d", one->number,
             one->head[0], one->head[1], wanted);
    if (!one->inside_message)
        one->compressed = one->head[0] & 0x40;
    if (one->compressed && !one->inflates)
        fail("connection %d: a compressed message without negotiation", one->number);
    one->fin = one->head[0] & 0x80;
    one->inside_message = true;
    return taken;
}

/* Remove a client's mask from the next bytes of a frame. */
static void unmask(struct connection *one, unsigned char *data, size_t length)
{
    unsigned char key[4];
    for (int index = 0; index < 4; index++)
        key[index] = one->key[(one->unmasked + (size_t)index) & 3];
    mask_copy(data, data, length, key);
    one->unmasked += length;
}

/* Keep the next part of a ping's payload. */
static void keep_ping(struct connection *one, const unsigned char *data, size_t length)
{
    memcpy(one->ping + one->ping_size, data, length);
    one->ping_size += length;
    one->owes_pong = length == one->left;
}

static void take_frames(struct connection *one, const struct tape *tape,
                        const struct settings *settings, unsigned char *data, size_t length)
{
    static unsigned char tail[] = {0, 0, 0xFF, 0xFF};
    for (;;) {
        if (!one->inside_frame) {
            size_t taken = take_head(one, settings, data, length);
            data += taken;
            length -= taken;
            if (!one->inside_frame)
                return;
        }
        const unsigned char *wanted = tape->payloads + (size_t)one->expected * tape->size;
        size_t part = length < one->left ? length : (size_t)one->left;
        if (settings->listener)
            unmask(one, data, part);
        if (one->pings)
            keep_ping(one, data, part);
        else
            (one->compressed ? check_compressed(one, wanted, tape->size, data, part)
                             : check(one, wanted, tape->size, data, part));
        data += part;
        length -= part;
        one->left -= part;
        if (one->left > 0)
            return;
        one->inside_frame = false;
        if (one->pings || !one->fin)
            continue;
        if (one->compressed) {
            check_compressed(one, wanted, tape->size, tail, sizeof tail);
            if (one->resets)
                inflateReset(&one->inflater);
        }
        message_over(one, tape);
    }
}

/* Without WebSocket: the bytes of the frames come back as they were sent. */
static void take_bytes(struct connection *one, const struct tape *tape, const unsigned char *data,
                       size_t length)
{
    while (length > 0) {
        const size_t *start = tape->starts + one->expected;
        size_t size = start[1] - start[0];
        size_t part = length < size - one->right ? length : size - one->right;
        check(one, tape->bytes + *start, size, data, part);
        data += part;
        length -= part;
        if (one->right == size) {
            one->right = tape->size;
            message_over(one, tape);
        }
    }
}

/* Read once and check the bytes; return how many messages they completed. */
int connection_receive(struct connection *one, const struct tape *tape,
                       const struct settings *settings)
{
    long before = one->received;
    ssize_t got = wire_receive(one, buffer, sizeof buffer);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        fail("connection %d: the server closed it: %s", one->number,
             got ? strerror(errno) : "end of input");
    if (settings->raw)
        take_bytes(one, tape, buffer, (size_t)got);
    else
        take_frames(one, tape, settings, buffer, (size_t)got);
    return (int)(one->received - before);
}

/* Begin to close a connection that was not started: with a Close, or with the end of output. */
void connection_leave(struct connection *one, bool sends_close)
{
    static const unsigned char close_1000[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8};
    if (!sends_close)
        shutdown(one->fd, SHUT_WR);
    else if (wire_send(one, close_1000, sizeof close_1000) != sizeof close_1000)
        fail("connection %d: cannot send our Close: %s", one->number, strerror(errno));
}

/* Wait until the server has closed it; it must answer a Close with a Close. */
void connection_left(struct connection *one, bool sends_close)
{
    size_t have = 0;
    ssize_t got;
    while ((got = wire_receive(one, buffer + have, BUFFER - have)) > 0)
        have += sends_close ? (size_t)got : 0;
    if (sends_close && (have < CLOSE_ANSWER || buffer[0] != 0x88))
        fail("connection %d: no answer to our Close", one->number);
    if (sends_close && have > CLOSE_ANSWER)
        fail("connection %d: more data after the answer to our Close", one->number);
    wire_close(one);
}
