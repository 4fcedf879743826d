"""The learned detector: what it sees, its network, and what is read off its outputs."""
