/* The bytes of a connection on its socket: as they are, or in TLS. */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One for all connections. It trusts every certificate, and resumes no session. */
static SSL_CTX *tls_context(void)
{
    static SSL_CTX *context;
    if (context == NULL) {
        signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
        context = SSL_CTX_new(TLS_client_method());
        if (context == NULL)
            fail("OpenSSL has no memory");
        SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    return context;
}

/* The result of a call of OpenSSL, as send and recv have it. */
static ssize_t as_of_a_socket(struct connection *one, int result)
{
    if (result > 0)
        return result;
    switch (SSL_get_error(one->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        return -1;
    default:
        fail("connection %d: TLS: %s", one->number, ERR_reason_error_string(ERR_peek_error()));
    }
}

static void shake_hands(struct connection *one)
{
    ERR_clear_error();
    if (as_of_a_socket(one, SSL_connect(one->tls)) <= 0 && errno != EAGAIN)
        fail("connection %d: the TLS handshake ended: %s", one->number, strerror(errno));
}

/* Send the ClientHello, and do not wait for the answer. */
void wire_begin_tls(struct connection *one)
{
    one->tls = SSL_new(tls_context());
    if (one->tls == NULL || SSL_set_fd(one->tls, one->fd) != 1)
        fail("OpenSSL has no memory");
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
    shake_hands(one);
    fcntl(one->fd, F_SETFL, 0);
}

/* Wait for the end of the TLS handshake. */
void wire_finish_tls(struct connection *one)
{
    shake_hands(one);
}

ssize_t wire_send(struct connection *one, const void *data, size_t length)
{
    if (one->tls == NULL)
        return send(one->fd, data, length, MSG_NOSIGNAL);
    ERR_clear_error();
    return as_of_a_socket(one, SSL_write(one->tls, data, (int)length));
}

/* OpenSSL reads no more than a record, which fits `data`: it holds nothing back that epoll would not
 * report. */
ssize_t wire_receive(struct connection *one, void *data, size_t length)
{
    if (one->tls == NULL)
        return recv(one->fd, data, length, 0);
    ERR_clear_error();
    return as_of_a_socket(one, SSL_read(one->tls, data, (int)length));
}

void wire_close(struct connection *one)
{
    SSL_free(one->tls);
    close(one->fd);
}
