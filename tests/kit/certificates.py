"""Certificates made for the tests, and contexts that trust them."""

import ssl
from pathlib import Path

import trustme


class Certificates:
    """An authority, which signs what a test needs."""

    def __init__(self) -> None:
        self.authority = trustme.CA()

    def server(self, *hosts: str) -> ssl.SSLContext:
        """The context of a server with these names or addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*hosts).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        """The context of a client that trusts the authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def files(self, folder: Path, *hosts: str) -> tuple[Path, Path]:
        """A certificate with these names or addresses and its key, in files."""
        issued = self.authority.issue_cert(*hosts)
        cert, key = folder / "cert.pem", folder / "key.pem"
        cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return cert, key
