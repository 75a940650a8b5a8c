"""A TLS client that asks for new keys, which Python's ssl module has no call for: OpenSSL's own."""

import ctypes
import ctypes.util
import socket
import time

KEY_UPDATE_REQUESTED = 1
WANTS_WRITE = 3


class TlsClient:
    """A TLS connection to a port of 127.0.0.1, which trusts everybody and reads nothing."""

    def __init__(self, port: int) -> None:
        name = ctypes.util.find_library("ssl")
        assert name is not None, "OpenSSL's library is not there"
        self._ssl = ctypes.CDLL(name)
        for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(self._ssl, function).restype = ctypes.c_void_p
        self._socket = socket.create_connection(("127.0.0.1", port), 20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(None)
        context = ctypes.c_void_p(self._ssl.SSL_CTX_new(self._pointer("TLS_client_method")))
        self._connection = ctypes.c_void_p(self._ssl.SSL_new(context))
        self._ssl.SSL_CTX_free(context)
        self._ssl.SSL_set_fd(self._connection, self._socket.fileno())
        assert self._ssl.SSL_connect(self._connection) == 1, "the TLS handshake failed"

    def _pointer(self, function: str) -> ctypes.c_void_p:
        return ctypes.c_void_p(getattr(self._ssl, function)())

    def update_keys(self, seconds: float, most: int) -> int:
        """Ask for new keys again and again, until nothing is taken; returns how often."""
        self._socket.setblocking(False)
        end, done = time.monotonic() + seconds, 0
        while time.monotonic() < end and done < most:
            if self._ssl.SSL_key_update(self._connection, KEY_UPDATE_REQUESTED) != 1:
                break
            while (result := self._ssl.SSL_do_handshake(self._connection)) != 1:
                error = self._ssl.SSL_get_error(self._connection, result)
                if error != WANTS_WRITE or time.monotonic() > end:
                    return done
                time.sleep(0.001)
            done += 1
        return done

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._ssl.SSL_free(self._connection)
