"""Training of networks: one loop for all of them."""
