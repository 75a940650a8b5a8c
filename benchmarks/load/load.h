/* The parts of the load generator: see ../README.md. Modes use the parts above them, and load.c
 * runs the modes. */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <zlib.h>

/* What an option that is given several times says. */
enum { MOST_NUMBERS = 8 };
struct numbers {
    int count, all[MOST_NUMBERS];
};

/* The command line. */
struct settings {
    const char *mode;      /* echo, broadcast, rooms, stream, handshake or idle */
    struct numbers ports;  /* of the servers, on 127.0.0.1; only rooms have several */
    int listener;          /* or the socket at which clients connect; 0 without */
    struct numbers pids;   /* of the servers whose CPU time is measured */
    int connections;
    int rooms;             /* into how many the connections go; 0 in other modes than rooms */
    int in_flight;         /* messages in flight on each connection */
    size_t size;           /* of a message, in bytes */
    size_t frame;          /* stream: bytes in a frame, 0 for one frame */
    bool text;
    bool raw;              /* the server echoes bytes, without WebSocket */
    bool drop;             /* handshake: end without a Close */
    bool deflate;          /* the server must accept permessage-deflate; it is always offered */
    bool tls;              /* except for a stream */
    long warm_up;          /* messages before the first turn */
    long messages;         /* the most in a turn */
    int limit;             /* seconds after which the process ends in any case */
};

/* Print what went wrong, and end with status 1. */
#define fail(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))

/* tape.c: frames to send, one after the other, in an endless loop. */
struct tape {
    int count;                /* of messages; all differ, in payload and masking key */
    size_t size;              /* of each message, in bytes */
    unsigned char *payloads;  /* the expected answers: count * size bytes */
    unsigned char *bytes;     /* the frames */
    size_t *starts;           /* where in `bytes` each frame starts; count + 1 of them */
};

void tape_make(struct tape *tape, const struct settings *settings, int count);
void random_bytes(unsigned char *bytes, size_t size);
void random_text(unsigned char *bytes, size_t size);
size_t frame_header(unsigned char *header, int first_byte, bool masked, uint64_t size);
void mask_copy(unsigned char *to, const unsigned char *from, size_t size,
               const unsigned char key[4]);

/* wire.c: what goes over its socket, in TLS with --tls; as send and recv do it. */
struct connection;

void wire_begin_tls(struct connection *one);
void wire_finish_tls(struct connection *one);
ssize_t wire_send(struct connection *one, const void *data, size_t length);
ssize_t wire_receive(struct connection *one, void *data, size_t length);
void wire_close(struct connection *one);

/* connection.c: one connection, and the check of what comes back. */
enum { MOST_PING = 125 };
struct connection {
    int fd;
    SSL *tls;                 /* NULL without TLS */
    int number;
    bool polls_output;        /* epoll reports when the socket takes more */
    size_t out;               /* position in the tape of the next byte to send */
    size_t granted;           /* how many bytes may be sent */
    bool cut;                 /* the socket was full before all of them were sent */
    int next;                 /* the next message to send */
    long sent, received;      /* messages */
    uint64_t *times;          /* when each message in flight was sent; a ring */
    int expected;             /* the message that comes back next */
    size_t right;             /* bytes of it that have been checked */
    unsigned char head[14];   /* of the frame that arrives, with the key of a client's */
    int head_size;
    uint64_t left;            /* bytes of its payload that are missing */
    unsigned char key[4];     /* with which a client has masked it */
    size_t unmasked;          /* bytes of it that are unmasked */
    bool inside_frame, pings, inside_message, fin, compressed;
    unsigned char ping[MOST_PING]; /* the payload of the last ping */
    size_t ping_size;
    bool owes_pong;
    z_stream inflater;
    bool inflates, resets;
};

void connections_open(struct connection *all, int count, const struct settings *settings);
void connection_start(struct connection *one, int first_message, const struct settings *settings);
void connection_grant(struct connection *one, const struct tape *tape, int messages,
                      int in_flight, uint64_t now);
bool connection_send(struct connection *one, const struct tape *tape,
                     const struct settings *settings);
int connection_receive(struct connection *one, const struct tape *tape,
                       const struct settings *settings);
void connection_leave(struct connection *one, bool sends_close);
void connection_left(struct connection *one, bool sends_close);

/* accept.c: connections that clients open. */
void connections_accept(struct connection *all, int count, const struct settings *settings);

/* meter.c: clocks, and how long messages took. */
struct mark {
    uint64_t wall, server, load; /* nanoseconds; `server` of all servers */
    bool runs;                   /* a server is running, or ready to */
    long faults;                 /* page faults of the servers */
};

uint64_t now(void);
struct mark mark_now(const struct numbers *pids);
struct mark mark_end(const struct numbers *pids);
void mark_add(struct mark *sum, struct mark begin, struct mark end);
void latency_clear(void);
void latency_add(uint64_t nanoseconds);
double latency_quantile(double part); /* in microseconds */

/* turn.c */
void turn_ready(void);
bool turn_asked(int epoll);
bool turn_comes(double *asked);

/* The modes. */
void run_messages(const struct settings *settings);   /* echo, broadcast, rooms: messages.c */
void run_stream(const struct settings *settings);     /* stream.c */
void run_handshakes(const struct settings *settings); /* handshakes.c */
void run_idle(const struct settings *settings);       /* idle.c */

#endif
