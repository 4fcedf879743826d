"""Training of the models that draw backgrounds: embedded or full-size, one code path."""
