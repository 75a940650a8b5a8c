"""How an outgoing connection comes about: addresses, proxies, attempts."""
