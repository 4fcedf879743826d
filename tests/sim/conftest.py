"""Makes what tests here share importable by name: reference solutions, walls, a bench."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
