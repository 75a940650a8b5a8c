/* One large message, made and checked piece by piece: it is never held as a whole. */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PART = 64 * 1024 }; /* the message repeats the same PART */

struct outgoing {
    unsigned char masked[PART], header[14];
    size_t header_size, header_sent;
    uint64_t in_frame, frame_left, left; /* left: of the whole message */
    bool first;
};

/* Begin the next frame. */
static void begin_frame(struct outgoing *out, const struct settings *settings,
                        const unsigned char key[4])
{
    uint64_t size = settings->frame && settings->frame < out->left ? settings->frame : out->left;
    int fin = size == out->left ? 0x80 : 0;
    out->header_size = frame_header(out->header, fin | (out->first ? 2 : 0), true, size);
    memcpy(out->header + out->header_size, key, 4);
    out->header_size += 4;
    out->header_sent = 0;
    out->in_frame = 0;
    out->frame_left = size;
    out->first = false;
}

/* Send one piece. Each frame starts its masking again, at the message's next byte. */
static void send_piece(struct outgoing *out, int fd)
{
    const unsigned char *from = out->header + out->header_sent;
    size_t length = out->header_size - out->header_sent;
    bool header = length > 0;
    if (!header) {
        size_t offset = (size_t)(out->in_frame % PART);
        from = out->masked + offset;
        length = out->frame_left < PART - offset ? (size_t)out->frame_left : PART - offset;
    }
    ssize_t sent = send(fd, from, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN)
        fail("cannot send: %s", strerror(errno));
    if (sent < 0)
        return;
    if (header) {
        out->header_sent += (size_t)sent;
    } else {
        out->in_frame += (size_t)sent;
        out->frame_left -= (size_t)sent;
        out->left -= (size_t)sent;
    }
}

/* The answer: frames of any size, with the payload in order. */
struct incoming {
    unsigned char head[10];
    int head_size;
    uint64_t frame_left, received;
    bool inside_frame, first, over;
};

static void take(struct incoming *in, const unsigned char *plain, const unsigned char *data,
                 size_t length)
{
    while (length > 0) {
        if (!in->inside_frame) {
            in->head[in->head_size++] = *data++;
            length--;
            int code = in->head[1] & 0x7F, extended = code < 126 ? 0 : code == 126 ? 2 : 8;
            if (in->head_size < 2 || in->head_size < 2 + extended)
                continue;
            in->frame_left = extended ? 0 : (uint64_t)code;
            for (int index = 0; index < extended; index++)
                in->frame_left = in->frame_left << 8 | in->head[2 + index];
            if (in->over || (in->head[0] & 0x7F) != (in->first ? 2 : 0))
                fail("a frame starts with %02x at byte %lu", in->head[0], in->received);
            in->inside_frame = true;
            in->first = false;
        }
        while (length > 0 && in->frame_left > 0) {
            size_t offset = (size_t)(in->received % PART), part = PART - offset;
            part = part < length ? part : length;
            part = part < in->frame_left ? part : (size_t)in->frame_left;
            if (memcmp(data, plain + offset, part) != 0)
                fail("what came back differs at or after byte %lu", in->received);
            data += part;
            length -= part;
            in->frame_left -= part;
            in->received += part;
        }
        if (in->frame_left == 0) {
            in->over = in->head[0] & 0x80;
            in->inside_frame = false;
            in->head_size = 0;
        }
    }
}

void run_stream(const struct settings *settings)
{
    static unsigned char plain[PART], buffer[4 * PART];
    static struct outgoing out;
    struct incoming in = {.first = true};
    struct connection one;
    unsigned char key[4];
    double seconds;

    if (settings->frame % PART != 0)
        fail("--frame is a multiple of %d", PART);
    if (settings->tls)
        fail("a stream does not go over TLS");
    random_bytes(plain, PART);
    random_bytes(key, 4);
    mask_copy(out.masked, plain, PART, key);
    out.left = settings->size;
    out.first = true;
    connections_open(&one, 1, settings);
    if (!turn_comes(&seconds))
        return;
    struct mark begin = mark_now(&settings->pids);
    begin_frame(&out, settings, key);
    while (!in.over) {
        bool sends = out.left > 0;
        struct pollfd ready = {.fd = one.fd, .events = (short)(POLLIN | (sends ? POLLOUT : 0))};
        poll(&ready, 1, -1);
        if (ready.revents & POLLOUT) {
            send_piece(&out, one.fd);
            if (out.left > 0 && out.frame_left == 0)
                begin_frame(&out, settings, key);
        }
        if (ready.revents & ~POLLOUT) {
            ssize_t got = recv(one.fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (got <= 0)
                fail("the server ended the connection after %lu bytes", in.received);
            take(&in, plain, buffer, (size_t)got);
        }
    }
    if (in.received != settings->size)
        fail("%lu bytes came back of %zu", in.received, settings->size);
    struct mark end = mark_end(&settings->pids);
    printf("{\"messages\": 1, \"seconds\": %.9f, \"server_cpu\": %.9f, \"load_cpu\": %.9f}\n",
           (double)(end.wall - begin.wall) / 1e9, (double)(end.server - begin.server) / 1e9,
           (double)(end.load - begin.load) / 1e9);
}
