"""Opening an outgoing connection: addresses, proxies, attempts, reconnection."""
