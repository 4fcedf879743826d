"""What `mmdtwin navigate` does: one run with its pictures, or many with their statistics."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mmdtwin.cli.navigation.figure import save_summary
from mmdtwin.cli.navigation.report import Ending, judge, make_report, summarise, versions
from mmdtwin.cli.navigation.telemetry import Telemetry
from mmdtwin.cli.navigation.video import VideoWriter
from mmdtwin.config import ScenarioConfig
from mmdtwin.control.feasibility import flow_feasibility
from mmdtwin.control.follower import Controller, DoNothing, PathFollower, RandomController
from mmdtwin.control.path import Path as DevicePath
from mmdtwin.control.session import ControllerFactory, Moment, Outcome, Session
from mmdtwin.control.task import Episode, draw_episode
from mmdtwin.control.view import Scene
from mmdtwin.errors import OutOfWorkspaceError, PhysicsError
from mmdtwin.files import making, replacing, writable_dir, write_json
from mmdtwin.geometry import apply, invert
from mmdtwin.hardware import open_rig
from mmdtwin.hardware.twin.rig import Truth, TwinRig
from mmdtwin.perception import ImageTracker
from mmdtwin.rig import Rig, RigDescription
from mmdtwin.seeding import stream

Observer = Callable[[Moment, "Truth | None"], None]


@dataclass(frozen=True)
class Request:
    """One run: the resolved scenario, who steers, and the seed of everything random."""

    scenario: ScenarioConfig
    controller: str
    seed: int


@dataclass(frozen=True, eq=False)
class Result:
    """What a run left: report, telemetry, and the path in the world as estimated."""

    report: dict[str, Any]
    telemetry: Telemetry
    path: DevicePath


def factory(name: str, seed: int) -> ControllerFactory:
    """Return what makes the controller of that name."""

    def make(description: RigDescription, path: DevicePath) -> Controller:
        if name == "random":
            return RandomController(description, path, stream(seed, "controller"))
        return (
            DoNothing(description, path) if name == "nothing" else PathFollower(description, path)
        )

    return make


def fly(request: Request, rig: Rig, watch: Callable[[Episode, Rig], Observer]) -> Result:
    """Run one episode on a connected rig.

    `watch` is called once the episode is drawn and returns what sees every moment. An interrupt
    or a physics error ends the run; what was seen until then is reported.
    """
    task = request.scenario.task
    episode = draw_episode(task, rig.describe(), stream(request.seed, "task"))
    tracker = ImageTracker.for_rig(rig.describe())
    session = Session(rig, tracker, episode, task, factory(request.controller, request.seed))
    telemetry = Telemetry()
    see: Observer | None = None

    def observe(moment: Moment) -> None:
        nonlocal see
        see = see or watch(episode, rig)
        truth = rig.truth(moment.frame.seq) if isinstance(rig, TwinRig) else None
        telemetry.add(moment, rig.telemetry(), truth)
        see(moment, truth)
        stop_if_asked()

    began = time.perf_counter()
    physics_error = None
    try:
        with _interrupts_between_frames() as stop_if_asked:
            outcome = session.run(request.seed, observe)
    except (PhysicsError, OutOfWorkspaceError) as error:
        outcome, physics_error = Outcome("physics error", rig.clock.now()), str(error)
    except KeyboardInterrupt:
        outcome = Outcome("interrupted", rig.clock.now())
    wall = time.perf_counter() - began
    ending = _ending(rig, telemetry)
    vessel = rig.describe().vessel
    report = make_report(
        outcome, telemetry, episode, judge(ending, episode, vessel, task.tolerance), wall
    )
    report.update(
        controller=request.controller,
        seed=request.seed,
        config_hash=request.scenario.hash,
        calibration=rig.describe().calibration,
        physics_error=physics_error,
        versions=versions(),
    )
    path = episode.path.transformed(rig.describe().T_world_vessel.T)
    return Result(report, telemetry, path)


@contextmanager
def _interrupts_between_frames() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the function given is called: compiled code must not be cut short."""
    asked: list[int] = []

    def stop_if_asked() -> None:
        if asked:
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop_if_asked  # someone else handles it, or it is ignored
        return
    signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    try:
        yield stop_if_asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ending(rig: Rig, telemetry: Telemetry) -> Ending:
    if isinstance(rig, TwinRig):
        return Ending(rig.truth().position, by_truth=True)
    if not len(telemetry):
        return Ending(None, by_truth=False)
    T = rig.describe().T_world_vessel.T
    return Ending(apply(invert(T), telemetry.rows[-1]["position"]), by_truth=False)


def run_once(request: Request, name: str, out: Path, json_path: Path | None) -> bool:
    """Fly one episode and write video, summary, telemetry and report into `out`."""
    console = Console()
    with (
        making(out),
        nullcontext() if json_path is None else making(json_path.parent, "--json"),
        _connected(request.scenario) as rig,
        replacing(out / "navigate.mp4") as part,
    ):
        console.print(f"[bold]{name}[/bold]: {request.scenario.description}")
        flow = _check_flow(console, rig)
        with _progress(console) as progress:
            video = VideoWriter(part, rig.describe().frame_rate)
            try:
                result = fly(request, rig, _watcher(name, request, video, progress))
            finally:
                video.close()
            snapshot = rig.last_good() if isinstance(rig, TwinRig) else None
        result.report.update(scenario=name, flow=flow)
        if result.report["physics_error"] and snapshot is not None:
            snapshot.write(
                out / "last_good_state.json",
                physics_error=result.report["physics_error"],
            )
        if len(result.telemetry):
            save_summary(out / "summary.png", result.telemetry, result.path, result.report)
        result.telemetry.save(out / "telemetry.h5", result.report)
        write_json(out / "config.json", request.scenario.model_dump(mode="json"))
        write_json(out / "report.json", result.report)
        if json_path is not None:
            write_json(json_path, result.report)
    _print_report(console, result.report, out)
    return bool(result.report["success"])


def _watcher(
    name: str, request: Request, video: VideoWriter, progress: Progress
) -> Callable[[Episode, Rig], Observer]:
    def watch(episode: Episode, rig: Rig) -> Observer:
        description = rig.describe()
        path = episode.path.transformed(description.T_world_vessel.T)
        title = f"{name}  seed {request.seed}  {description.mode.upper()}"
        scene = Scene(description, path.leg, title)
        bar = progress.add_task("flying", total=path.length * 1e3)

        def see(moment: Moment, truth: Truth | None) -> None:
            video.write(scene.draw(moment, None if truth is None else truth.world.nodes))
            progress.update(bar, completed=moment.estimate.s * 1e3)

        return see

    return watch


def _check_flow(console: Console, rig: Rig) -> str | None:
    """Say whether the device can be held against the flow."""
    found = flow_feasibility(rig.describe())
    if found is None:
        return None
    console.print(found.line, style=None if found.feasible else "bold red", highlight=False)
    return found.line


@contextmanager
def _connected(scenario: ScenarioConfig) -> Iterator[Rig]:
    with open_rig(scenario=scenario) as rig:
        yield rig


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total:.1f} mm"),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        yield progress


def _print_report(console: Console, report: dict[str, Any], out: Path) -> None:
    table = Table(show_header=False)
    for key, value in report.items():
        if key not in ("versions", "flow") and value is not None:
            table.add_row(key, f"{value:.3f}" if isinstance(value, float) else str(value))
    console.print(table)
    console.print(f"video, summary, telemetry and report are in {out}")


_worker_rig: Rig | None = None


def _start_worker(scenario: ScenarioConfig) -> None:
    global _worker_rig
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent reports what is done
    _worker_rig = open_rig(scenario=scenario)
    _worker_rig.connect()


def _fly_in_worker(request: Request) -> dict[str, Any]:
    assert _worker_rig is not None
    return fly(request, _worker_rig, _unwatched).report


def _unwatched(episode: Episode, rig: Rig) -> Observer:
    del episode, rig

    def see(moment: Moment, truth: Truth | None) -> None:
        del moment, truth

    return see


def run_episodes(
    scenario: ScenarioConfig,
    controllers: list[str],
    seed: int,
    episodes: int,
    jobs: int,
    json_path: Path | None,
) -> bool:
    """Fly seeds `seed` ... `seed + episodes - 1` with each controller; print and write statistics.

    Failed, truncated and interrupted episodes count. True if all were run.
    """
    # Check the task in this process first, where an error is one clear line.
    with _connected(scenario) as rig:
        draw_episode(scenario.task, rig.describe(), stream(seed, "task"))
        flow = _check_flow(Console(), rig)
    if json_path is not None:
        writable_dir(json_path.parent, "--json")
    requests = [Request(scenario, c, seed + i) for c in controllers for i in range(episodes)]
    reports, whole = _fly_all(scenario, requests, jobs or os.cpu_count() or 1)
    grouped = {c: [r for r in reports if r["controller"] == c] for c in controllers}
    summary = {c: summarise(rs) for c, rs in grouped.items() if rs}
    _print_summary(Console(), summary)
    main, *others = controllers
    if json_path is not None:
        write_json(
            json_path,
            {
                "episodes": grouped[main],
                "summary": summary.get(main),
                "baselines": {
                    c: {"episodes": grouped[c], "summary": summary.get(c)} for c in others
                },
                "complete": whole,
                "flow": flow,
                "seed": seed,
                "config_hash": scenario.hash,
                "versions": versions(),
            },
        )
    return whole


def _fly_all(
    scenario: ScenarioConfig, requests: list[Request], jobs: int
) -> tuple[list[dict[str, Any]], bool]:
    reports: list[dict[str, Any]] = []
    pool = ProcessPoolExecutor(
        min(jobs, len(requests)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(scenario,),
    )
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    ) as progress:
        bar = progress.add_task("episodes", total=len(requests))
        futures = [pool.submit(_fly_in_worker, request) for request in requests]
        try:
            for done in as_completed(futures):
                reports.append(done.result())
                progress.advance(bar)
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            done_now = [f.result() for f in futures if f.done() and not f.cancelled()]
            return sorted(done_now, key=lambda r: int(r["seed"])), False
        pool.shutdown()
    return sorted(reports, key=lambda r: int(r["seed"])), True


def _print_summary(console: Console, summary: dict[str, dict[str, Any]]) -> None:
    table = Table(
        "controller", "success", "95 % interval", "time / s", "path RMSE / mm",
        "tracking RMSE / mm", "frames lost", "wall contact", "realtime",
    )  # fmt: skip
    for name, s in summary.items():
        low, high = s["success_interval_95"]
        figures = [
            s[f"median_{key}"]
            for key in (
                "time_s", "path_rmse_mm", "tracking_rmse_mm", "tracking_lost_fraction",
                "wall_contact_fraction", "realtime_factor",
            )
        ]  # fmt: skip
        table.add_row(
            name,
            f"{s['successes']} of {s['episodes']}",
            f"{low:.2f} - {high:.2f}",
            *("-" if v is None else f"{v:.2f}" for v in figures),
        )
    console.print(table)
