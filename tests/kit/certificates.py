"""Certificates made for the tests, and contexts that trust them."""

import ssl
from pathlib import Path

import trustme

# What OpenSSL says of a record that was not encrypted with the key, before 3.5 and since.
BAD_RECORD = "(decryption failed or bad record mac|record layer failure)"


def server_context(authority: trustme.CA, *hosts: str) -> ssl.SSLContext:
    """The context of a server with a certificate for these names or addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """The context of a client that trusts the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def certificate_files(authority: trustme.CA, folder: Path, *hosts: str) -> tuple[Path, Path]:
    """A certificate for these names or addresses and its key, in files."""
    issued = authority.issue_cert(*hosts)
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return cert, key
