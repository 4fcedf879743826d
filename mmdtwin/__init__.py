"""Digital twin of miniature magnetic medical devices steered through vessels under X-ray."""

__version__ = "0.1.0"
