"""The examples run as a user runs them, without a display."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = [
    "--set=imager.background.kind=flat",
    "--set=imager.detector.rows=256",
    "--set=imager.detector.columns=256",
]


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *SMALL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fly_with_a_controller_of_ones_own():
    out = run("fly.py", "--seed=1", "--set=task.timeout=2")
    rows = re.findall(r"([\d.]+) s +(-?[\d.]+) mm along the path  \w+", out)
    assert [float(t) for t, _ in rows] == [0.0, 1.0]
    assert re.search(r"timeout after 2\.\d s of \d\d\.\d mm", out)


def test_random_agent():
    out = run("random_agent.py", "--steps=15")
    assert re.search(r"15 frames, 1\.\d s: return -?\d+\.\d\d, -?\d+\.\d of \d\d\.\d mm", out)


def test_random_agent_ends_with_the_episode():
    out = run("random_agent.py", "--steps=100", "--observation=pixels", "--set=task.timeout=0.5")
    frames = int(re.match(r"(\d+) frames", out)[1])
    assert 5 <= frames < 15
