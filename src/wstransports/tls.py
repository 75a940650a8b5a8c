"""What TLS on both sides has in common: the causes of its failures."""

import ssl


def tls_cause(error: ssl.SSLError) -> str:
    """Why TLS failed, in OpenSSL's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate was rejected: {error.verify_message}"
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
