"""Certificates for both ends of a connection over TLS."""

import ssl
from pathlib import Path
from typing import NamedTuple

import trustme

from kit.certificates import certificate_files, client_context


class Keys(NamedTuple):
    """What a server and a client need; peers outside of Python need files."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    cert: Path
    key: Path
    authority: Path


def make_keys(folder: Path) -> Keys:
    """Keys for 127.0.0.1, the files in `folder`."""
    authority = trustme.CA()
    cert, key = certificate_files(authority, folder, "127.0.0.1")
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return Keys(server, client_context(authority), cert, key, trusted)
