"""Speed of the twin's stages: `python -m benchmarks`, or `make bench`."""
