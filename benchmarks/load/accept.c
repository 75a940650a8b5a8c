/* The other end: connections that clients open, and the answer to their upgrade. */
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
static const char key_field[] = "\r\nSec-WebSocket-Key:";
static const char answer_format[] =
    "HTTP/1.1 101 Switching Protocols\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Accept: %s\r\n\r\n";

enum { KEY = 24 }; /* 16 bytes in base64 */

/* The accept value of a request's key (RFC 6455, section 4.2.2). */
static void accept_key(const char *key, char accept[29])
{
    unsigned char hash[SHA_DIGEST_LENGTH];
    char text[KEY + sizeof guid];
    memcpy(text, key, KEY);
    memcpy(text + KEY, guid, sizeof guid);
    SHA1((const unsigned char *)text, strlen(text), hash);
    EVP_EncodeBlock((unsigned char *)accept, hash, sizeof hash);
}

static void answer(const struct connection *one)
{
    char head[8192], accept[29], text[256];
    size_t have = 0;
    do {
        ssize_t got = read(one->fd, head + have, sizeof head - 1 - have);
        if (got <= 0)
            fail("connection %d: no request for an upgrade", one->number);
        have += (size_t)got;
        head[have] = 0;
    } while (strstr(head, "\r\n\r\n") == NULL);
    const char *key = strcasestr(head, key_field);
    if (key != NULL)
        key += strlen(key_field) + strspn(key + strlen(key_field), " ");
    if (key == NULL || strcspn(key, "\r") != KEY)
        fail("connection %d: not a request for an upgrade:\n%s", one->number, head);
    accept_key(key, accept);
    int length = snprintf(text, sizeof text, answer_format, accept);
    if (send(one->fd, text, (size_t)length, MSG_NOSIGNAL) != length)
        fail("connection %d: cannot answer the upgrade: %s", one->number, strerror(errno));
}

void connections_accept(struct connection *all, int count, const struct settings *settings)
{
    int yes = 1;
    for (int index = 0; index < count; index++) {
        int fd = accept4(settings->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            fail("cannot accept a connection: %s", strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        all[index] = (struct connection){.fd = fd, .number = index};
        answer(&all[index]);
    }
}
