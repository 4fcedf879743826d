"""`mmdtwin navigate` as a user runs it: in its own process, by its exit code and its files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
import pytest

COMMAND = [sys.executable, "-c", "from mmdtwin.cli import main; main()"]
SMALL = ("--set", "imager.background.kind=flat")  # the plain background is quick to prepare
REPORTED = {
    "success", "time_s", "path_rmse_mm", "tracking_rmse_mm", "tracking_lost_fraction",
    "wall_contact_fraction", "frames", "frame_rate_hz", "realtime_factor", "seed", "config_hash",
    "versions",
}  # fmt: skip


def mmdtwin(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True)


def contents(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def read_video(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-scenario"], ("no-such-scenario", "known", "soft-sheet-bifurcation")),
        (["nowhere/mine.yaml"], ("nowhere/mine.yaml", "no such file")),
        (["broken.yaml"], ("broken.yaml", "not valid YAML")),
        (["--rig", "no-such-rig"], ("no-such-rig", "known", "twin")),
        (["--phantom", "no-such-phantom"], ("no-such-phantom", "known", "bifurcation")),
        (["--set", "device.links=many"], ("device.links", "integer", "many")),
        (["--set", "device.lenght=1"], ("device.lenght", "unknown key", "length")),
        (["--set", "coils.max_current=0"], ("coils.max_current", "greater than 0")),
        (["--set", "task.timeout"], ("task.timeout", "key=value")),
        (["--set", "device.length=6e-3", "--set", "device.width=5e-3"], ("5.00 mm wide", "trunk")),
        (["--set", "task.target=[0.1, 0, 0]"], ("task.target", "outside the vessel")),
        (["--set", "task.starts=[aorta]"], ("task.starts", "aorta", "trunk")),
        (["--out", "broken.yaml/below"], ("--out", "cannot write")),
        (["--seed", "-1"], ("--seed", "0")),
        (["--controller", "magic"], ("--controller", "follow")),
        (["--no-such-option"], ("--no-such-option",)),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_exit_2_and_nothing_left(tmp_path, arguments, words):
    (tmp_path / "broken.yaml").write_text("a: [1, 2")
    out = [] if "--out" in arguments else ["--out", "results/run"]
    done = mmdtwin("navigate", *arguments, *SMALL, *out, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert contents(tmp_path) == ["broken.yaml"]


def test_an_unknown_command_is_one_line(tmp_path):
    done = mmdtwin("fly", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["mmdtwin: No such command 'fly'."]


def test_help_lists_the_commands(tmp_path):
    done = mmdtwin("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    for command in ("navigate", "list", "field", "phantom", "xray", "doctor"):
        assert command in done.stdout
    assert "--seed" in mmdtwin("navigate", "--help", cwd=tmp_path).stdout


def test_a_run_writes_everything(tmp_path):
    """1.5 s are too short to arrive: exit 1, but every result is there and agrees."""
    arguments = ["--set", "task.timeout=1.5", "--seed", "3", "--json", "copy/report.json"]
    done = mmdtwin("navigate", *arguments, *SMALL, "--out", "run", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    run = tmp_path / "run"
    names = ["config.json", "navigate.mp4", "report.json", "summary.png", "telemetry.h5"]
    assert contents(run) == names

    report = json.loads((run / "report.json").read_text())
    assert report.keys() >= REPORTED
    assert report["success"] is False
    assert report["ended"] == "timeout"
    assert report["seed"] == 3
    assert 1.5 <= report["time_s"] < 1.8
    assert all(np.isfinite(v) for v in report.values() if isinstance(v, float))
    assert report == json.loads((tmp_path / "copy" / "report.json").read_text())
    assert json.loads((run / "config.json").read_text())["task"]["timeout"] == 1.5

    frames = read_video(run / "navigate.mp4")
    assert len(frames) == report["frames"]
    assert frames[0].shape == (720, 1280, 3)
    assert all(frame.std() > 5 for frame in frames)
    with h5py.File(run / "telemetry.h5") as file:
        assert {len(column) for column in file.values()} == {report["frames"]}
        assert (np.diff(file["seq"]) > 0).all()
        assert file["true_position"].attrs["unit"] == "m"
        assert json.loads(file.attrs["report"])["config_hash"] == report["config_hash"]
    assert min(cv2.imread(str(run / "summary.png")).shape[:2]) > 500


@pytest.mark.skipif(os.name == "nt", reason="interrupts are sent by POSIX signals")
def test_an_interrupted_run_leaves_valid_results(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "navigate", "--controller", "nothing", *SMALL, "--out", "run"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        # Frames have been written once the unfinished video has some size.
        while process.poll() is None and not any(
            part.stat().st_size > 1000 for part in (tmp_path / "run").glob(".part-*.mp4")
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1, stderr
    assert "Traceback" not in stderr
    run = tmp_path / "run"
    assert contents(run)[0] == "config.json"  # no unfinished file is left
    report = json.loads((run / "report.json").read_text())
    assert report["ended"] == "interrupted"
    assert report.keys() >= REPORTED
    assert abs(len(read_video(run / "navigate.mp4")) - report["frames"]) <= 1
    with h5py.File(run / "telemetry.h5") as file:
        assert len(file["seq"]) == report["frames"] > 0
