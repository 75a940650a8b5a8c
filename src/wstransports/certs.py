"""The certificate of a server, and its key."""

import os
import ssl
from pathlib import Path

Certs = tuple[str | os.PathLike[str], str | os.PathLike[str]] | ssl.SSLContext


def server_context(certs: Certs | None) -> ssl.SSLContext | None:
    """The SSLContext for `certs`: one made from (certfile, keyfile), or the given one.

    Raises FileNotFoundError for a missing file, ValueError for files that are not a certificate
    and its key or for a client's context, TypeError for anything else.
    """
    if certs is None:
        return None
    if isinstance(certs, ssl.SSLContext):
        if certs.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "certs is an SSLContext for clients: create one with"
                " ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), and call its load_cert_chain(...)"
            )
        return certs
    cert, key = certs if isinstance(certs, tuple) and len(certs) == 2 else (None, None)
    if not isinstance(cert, str | os.PathLike) or not isinstance(key, str | os.PathLike):
        raise TypeError(f"certs must be (certfile, keyfile) or an ssl.SSLContext, not {certs!r}")
    certfile, keyfile = os.fspath(cert), os.fspath(key)
    for kind, path in (("certificate", certfile), ("key", keyfile)):
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"there is no {kind} file {path!r}: certs must be (certfile, keyfile)"
            )

    def no_pass_phrase() -> str:  # without it OpenSSL prompts on the terminal
        raise ValueError(
            f"the key {keyfile!r} has a passphrase: load it into an ssl.SSLContext of your own, and"
            " pass that as certs"
        )

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certfile, keyfile, no_pass_phrase)
    except ssl.SSLError as error:
        raise ValueError(
            f"certs: {certfile!r} and {keyfile!r} are not a certificate and its key"
            f" ({error.reason or error})"
        ) from error
    return context
