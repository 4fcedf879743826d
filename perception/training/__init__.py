"""Training of the learned detector, on patches of labelled images."""
