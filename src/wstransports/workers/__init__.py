"""Workers: several processes that serve at one address, and the one that starts them."""
