/* A floor: an epoll server that echoes bytes, without WebSocket. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 256 * 1024 };

/* A client, and the bytes that could not be written yet; until they are, nothing is read. */
struct peer {
    int fd;
    char *rest;
    size_t from, to;
};

static int epoll;

static void watch(struct peer *peer, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    epoll_ctl(epoll, operation, peer->fd, &event);
}

static void drop(struct peer *peer)
{
    close(peer->fd);
    free(peer->rest);
    free(peer);
}

static void echo(struct peer *peer)
{
    static char buffer[BUFFER];
    ssize_t got = recv(peer->fd, buffer, BUFFER, 0), sent;
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(peer);
        return;
    }
    sent = send(peer->fd, buffer, (size_t)got, MSG_NOSIGNAL);
    if (sent == got)
        return;
    if (sent < 0)
        sent = 0;
    peer->rest = malloc((size_t)(got - sent));
    peer->to = (size_t)(got - sent);
    peer->from = 0;
    memcpy(peer->rest, buffer + sent, peer->to);
    watch(peer, EPOLL_CTL_MOD, EPOLLOUT);
}

static void flush(struct peer *peer)
{
    ssize_t sent =
        send(peer->fd, peer->rest + peer->from, peer->to - peer->from, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(peer);
        return;
    }
    peer->from += sent > 0 ? (size_t)sent : 0;
    if (peer->from < peer->to)
        return;
    free(peer->rest);
    peer->rest = NULL;
    watch(peer, EPOLL_CTL_MOD, EPOLLIN);
}

int main(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof address;
    struct epoll_event events[EVENTS];
    int yes = 1;
    struct peer listener = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    if (bind(listener.fd, (struct sockaddr *)&address, length) != 0 ||
        listen(listener.fd, 4096) != 0 ||
        getsockname(listener.fd, (struct sockaddr *)&address, &length) != 0)
        return 1;
    epoll = epoll_create1(0);
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            struct peer *peer = events[index].data.ptr;
            if (peer != &listener) {
                (peer->rest ? flush : echo)(peer);
                continue;
            }
            peer = calloc(1, sizeof *peer);
            peer->fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK);
            setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            watch(peer, EPOLL_CTL_ADD, EPOLLIN);
        }
    }
}
