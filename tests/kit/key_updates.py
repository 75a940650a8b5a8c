"""A TLS 1.3 client that asks for new keys as often as it likes (RFC 8446 section 4.6.3)."""

import hashlib
import hmac
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_APPLICATION_DATA, _HANDSHAKE = 23, 22
_UPDATE_REQUESTED = b"\x18\0\0\1\1"


class KeyUpdater:
    """What the client sends once its handshake is over, encrypted by the test itself."""

    def __init__(self, keylog: Path) -> None:
        [line] = [
            line
            for line in keylog.read_text().splitlines()
            if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")
        ]
        self._use(bytes.fromhex(line.split()[2]))

    @staticmethod
    def prepare(context: ssl.SSLContext, keylog: Path) -> None:
        """Have a client's context write its secrets to a file, and speak what is spoken here."""
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.keylog_filename = str(keylog)

    def data(self, data: bytes) -> bytes:
        """A record with application data."""
        return self._record(data, _APPLICATION_DATA)

    def key_update(self) -> bytes:
        """A record that renews our keys and asks the peer to renew its own."""
        record = self._record(_UPDATE_REQUESTED, _HANDSHAKE)
        self._use(_expanded(self._secret, b"traffic upd", 48))
        return record

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._key = AESGCM(_expanded(secret, b"key", 32))
        self._iv = int.from_bytes(_expanded(secret, b"iv", 12))
        self._number = 0

    def _record(self, content: bytes, kind: int) -> bytes:
        inner = content + bytes([kind])
        head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
        nonce = (self._iv ^ self._number).to_bytes(12)
        self._number += 1
        return head + self._key.encrypt(nonce, inner, head)


def _expanded(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1) with SHA-384, for at most one block."""
    label = b"tls13 " + label
    info = size.to_bytes(2) + bytes([len(label)]) + label + b"\0"
    return hmac.digest(secret, info + b"\1", hashlib.sha384)[:size]
