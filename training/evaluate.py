"""Speech, keyframes and motion of any systems, measured on prepared clips of real people.

`python -m soliloquy prepare VIDEOS CLIPS`, then `python -m soliloquy evaluate CLIPS`. What the
numbers mean is written in `measures.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.formats import find_system
from ..models.keyframes.energy_peaks import EnergyPeaks
from ..models.keyframes.establish import coefficients, establish
from ..models.motion.spaces import convert
from ..models.payloads import KEYFRAME_PATHS, Keyframes, Motion, PayloadError, Speech, Timeline
from . import image_measures, measures
from .prepare import Clip, read_clip

SEEDS = 3
Report = dict[str, dict[str, float]]  # clip, or "mean" -> measure -> value


def evaluate(
    folder: Path,
    motion: str,
    *,
    keyframes: str | None = None,
    seeds: int = SEEDS,
    on_clip: Callable[[str, dict[str, float]], None] | None = None,
) -> Report:
    """Measure a motion system, and a keyframe system if one is named.

    Args:
        folder: clips that `prepare` wrote.
        motion: name of a system that makes "arkit52" motion of speech alone.
        keyframes: name of a system; its keyframes lead the motion, and are compared with those of
            the person.
        seeds: how many performances of each clip are averaged.
        on_clip: called with each clip's name and values.

    Raises:
        PayloadError: no clips, or systems that are not there.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise PayloadError(
            f"'{folder}' holds no prepared clips. Make some: python -m soliloquy prepare VIDEOS"
            f" {folder}."
        )
    mover = find_system("motion", motion)
    encoder = find_system("speech", mover.speech or "starter").load()
    model = mover.load()
    predictor = find_system("keyframes", keyframes).load() if keyframes else None
    report: Report = {}
    for path in paths:
        clip = read_clip(path)
        report[path.stem] = evaluate_clip(clip, encoder, model, predictor, seeds)
        if on_clip:
            on_clip(path.stem, report[path.stem])
    names = next(iter(report.values()))
    report["mean"] = {k: sum(row[k] for row in report.values()) / len(paths) for k in names}
    return report


def evaluate_clip(
    clip: Clip, encoder: Any, model: Any, predictor: Any, seeds: int
) -> dict[str, float]:
    """All measures of one clip, means over seeds."""
    sound = torch.from_numpy(clip.sound).float()[None] / 32768
    truth = recorded(clip)
    speech = encoder.encode(sound, 16000, truth.timeline)
    found: list[dict[str, float]] = []
    motions = []
    for seed in range(seeds):
        marks = predictor.predict(speech, seed) if predictor else None
        motion = model.sample(speech, None, marks, seed=seed)
        motions.append(convert(motion, "arkit52"))
        found.append(compare(motions[-1], truth, speech))
        if marks is not None:
            found[-1] |= compare_keyframes(marks, truth, speech)
    means = {name: sum(row[name] for row in found) / seeds for name in found[0]}
    rotations = [motion.rotation for motion in motions]
    return means | {"head across seeds": measures.diversity_across_seeds(rotations)}


def recorded(clip: Clip) -> Motion:
    """The person's own motion, on a timeline that the sound of the clip may be spoken on."""
    frames = len(clip.weights)
    timeline = Timeline.for_sound(len(clip.sound), 16000, clip.fps)
    index = torch.arange(timeline.num_frames).clamp(max=frames - 1)

    def rows(array: Any) -> Tensor:
        return torch.from_numpy(array).float()[index]

    return Motion(
        space="arkit52",
        values=rows(clip.weights),
        rotation=rows(clip.rotation),
        translation=rows(clip.translation),
        scale=rows(clip.scale),
        timeline=timeline,
    )


def compare(motion: Motion, truth: Motion, speech: Speech) -> dict[str, float]:
    """One performance against the recorded one."""
    fps = float(truth.timeline.fps)
    lips = measures.lip_correlation(motion.values, truth.values)
    beats = measures.sound_beats(speech.stream("energy", "Beat Align")[:, 0], fps)
    heads = [coefficients(each, "pose")[:, :3] for each in (motion, truth)]
    score = measures.beat_align(heads[0], fps, beats)
    angular = measures.angular_speed(motion.rotation, fps)
    points = [convert(each, "landmarks68").values for each in (motion, truth)]
    return {
        "LMD, % of eye distance": 100 * image_measures.landmark_distance(*points),
        "M-LMD, % of eye distance": 100 * image_measures.mouth_landmark_distance(*points),
        "lip vertex error": measures.lip_vertex_error(motion.values, truth.values),
        "lip aperture r": lips[0],
        "lip width r": lips[1],
        "beats, sound to motion": score.sound_to_motion,
        "beats, motion to sound": score.motion_to_sound,
        "motion beats/s": score.motion_beats_per_second,
        "head diversity": measures.diversity(motion.rotation),
        "largest yaw": float(motion.rotation[:, 1].abs().max()),
        "angular speed, 99 %": float(angular.quantile(0.99)) if len(angular) else 0.0,
        "head velocity ratio": measures.velocity_ratio(*heads),
        "head jerk ratio": measures.jerk_ratio(*heads),
        "face velocity ratio": measures.velocity_ratio(motion.values, truth.values),
        "face jerk ratio": measures.jerk_ratio(motion.values, truth.values),
    }


def compare_keyframes(marks: Keyframes, truth: Motion, speech: Speech) -> dict[str, float]:
    """Predicted keyframes, and energy peaks at the same rate, against those of the motion."""
    wanted = establish(truth)
    seconds = max(truth.timeline.seconds, 1e-6)
    found: dict[str, float] = {}
    for path in KEYFRAME_PATHS:
        guess = marks.marks[path]
        rate = min(max(float(guess.sum()) / seconds, 0.05), 8.0)
        rivals = {"": guess, "energy peaks, ": EnergyPeaks().predict(speech, rate=rate).marks[path]}
        for name, marked in rivals.items():
            for tolerance in (1, 2):
                score = measures.keyframe_score([(marked, wanted.marks[path])], tolerance)
                found[f"{name}{path} F1 ±{tolerance}"] = score.f1
            found[f"{name}{path} rate ratio"] = score.rate_ratio
    return found


def table(report: Report) -> str:
    """Measures as rows, clips as columns."""
    columns = list(report)
    width = max(len(name) for name in report["mean"])
    lines = [" " * width + "".join(f"{name[-10:]:>11}" for name in columns)]
    for name in report["mean"]:
        lines.append(f"{name:<{width}}" + "".join(f"{report[c][name]:11.3f}" for c in columns))
    return "\n".join(lines)
