"""A small PointPillars, trained on simulated LiDAR frames, traced and filtered on real frames of KITTI.

Run it with: python examples/pointpillars_kitti.py
It looks for kitti_frames/ (velodyne/*.bin, label_2/*.txt, calib/*.txt, as KITTI's object detection data has them) in
../shared/data, or in the folder that MLD_TEST_DATA names. It trains for about two minutes and needs the demo extra:
pip install "ml-debugger[demo]". It writes pictures from above (kitti_examples.png) and the report (kitti_report.html).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ml_debugger.analysis.box_conventions import from_camera
from ml_debugger.data_filter import ObjectDetection3DDataFilter
from ml_debugger.demo.point_pillars import train
from ml_debugger.demo.street_scenes import CLASS_NAMES, PC_RANGE, make_streets
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetection3DTracer

DATA = Path(os.environ.get("MLD_TEST_DATA", "../shared/data")) / "kitti_frames"
N_STREETS = {"train": 120, "val": 60}
EPOCHS = 14
N_LABELLED = 8  # of the 13 frames; the others are the pool
FIELD = 40.0  # degrees to either side: KITTI annotates what its camera sees
SMALL = (CLASS_NAMES.index("Pedestrian"), CLASS_NAMES.index("Cyclist"))
MATCHING = {
    "measure_by_class": dict.fromkeys(SMALL, "distance"),  # a pedestrian is found within half a metre of its middle
    "centre_distance_by_class": dict.fromkeys(SMALL, 0.5),
}
WORST = {"top_n": 3, "img_error_threshold": 0.6}


def read_points(name: str) -> torch.Tensor:
    """Points (N, 4) of a frame in the axes of the LiDAR: x forward, y left, z up; those that the camera sees too."""
    points = np.fromfile(DATA / "velodyne" / f"{name}.bin", dtype=np.float32).reshape(-1, 4)
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    return torch.from_numpy(points[np.abs(azimuth) < FIELD])


def read_annotations(name: str) -> dict[str, Any]:
    """Boxes (G, 7) of a frame in the axes of the LiDAR; vans and other things that are no class of ours are ignored."""
    lines = [line.split() for line in (DATA / "label_2" / f"{name}.txt").read_text().splitlines()]
    lines = [line for line in lines if line and line[0] != "DontCare"]
    numbers = np.array([line[8:15] for line in lines], dtype=float).reshape(-1, 7)
    (height, width, length), bottom, turn = numbers[:, :3].T, numbers[:, 3:6], numbers[:, 6]
    middle = bottom - np.outer(height / 2, [0, 1, 0])  # the camera's y points down
    boxes = from_camera(middle, np.stack([length, height, width], 1), turn)
    # Ours of a camera are x right, y forward, z up. The calibration says where the LiDAR is; its axes are a quarter
    # turn from these, give or take some hundredths of a degree.
    calibration = dict(line.split(":", 1) for line in (DATA / "calib" / f"{name}.txt").read_text().splitlines() if line)
    to_camera = np.array(calibration["R0_rect"].split(), float).reshape(3, 3)
    to_camera = to_camera @ np.array(calibration["Tr_velo_to_cam"].split(), float).reshape(3, 4)
    boxes[:, :3] = (middle - to_camera[:, 3]) @ np.linalg.inv(to_camera[:, :3]).T
    boxes[:, 6] -= np.pi / 2
    inside = ((boxes[:, :3] > PC_RANGE[:3]) & (boxes[:, :3] < PC_RANGE[3:])).all(axis=1)
    names = [line[0] for line, within in zip(lines, inside, strict=True) if within]
    return {
        "boxes": boxes[inside],
        "labels": np.array([CLASS_NAMES.index(one) if one in CLASS_NAMES else 0 for one in names], dtype=int),
        "ignore": np.array([one not in CLASS_NAMES for one in names], dtype=bool),
    }


def main() -> None:
    """Train on simulated streets, learn from these and eight real frames where it errs, look at five others."""
    streets = make_streets(N_STREETS, seed=0)
    detect = train(streets, streets.parts["train"], seed=0, epochs=EPOCHS)
    names = sorted(path.stem for path in (DATA / "velodyne").glob("*.bin"))
    labelled, pool = names[:N_LABELLED], names[N_LABELLED:]

    tracer = ObjectDetection3DTracer(
        detect,
        "pointpillars_small",
        "simulated",
        n_class=len(CLASS_NAMES),
        pc_range=PC_RANGE,
        ground_truth_provider=read_annotations,  # asked for the annotations of an id where none are given
    )
    with torch.no_grad():
        for number in streets.parts["val"]:
            points = [torch.from_numpy(streets.frames[number])]
            tracer(points, streets.annotations([number]), [f"street {number}"], dataset_type="val")
        for name in labelled:
            tracer([read_points(name)], input_ids=[name], dataset_type="kitti")
    tracer.wait_for_save()
    result = Evaluator("pointpillars_small", "simulated").request_evaluation(options={"matching": MATCHING})
    print(result.summary())
    for dataset_type, called in (("val", "simulated"), ("kitti", "real")):
        boxes = result.samples(dataset_type=dataset_type)
        wrong, said = boxes["is_error"].mean(), boxes["error_proba"].mean()
        print(f"{called} frames: {len(boxes)} boxes, {wrong:.0%} wrong, {said:.0%} said to be")
    missed = result.missed()
    print(f"{(missed['dataset_type'] == 'kitti').sum()} real objects were missed. The errors on real frames:")
    codes = result.samples(dataset_type="kitti", only_errors=True)["error_code"]
    print(codes.value_counts().head(5).to_string(header=False))
    figure = result.plot_examples(6, frames=read_points, class_names=CLASS_NAMES, dataset_type="kitti")
    figure.savefig("kitti_examples.png", dpi=120)
    shown = {f"street {number}": streets.frames[number] for number in streets.parts["val"]}
    shown |= {name: read_points(name) for name in labelled}
    print("Report:", result.report("kitti_report.html", frames=shown, class_names=CLASS_NAMES))

    data_filter = ObjectDetection3DDataFilter(
        detect,
        "pointpillars_small",
        "simulated",
        result.result_name,
        filter_config=WORST,
        n_class=len(CLASS_NAMES),
    )
    with torch.no_grad():
        for name in pool:
            _, (flag,) = data_filter([read_points(name)], [name])  # the flag comes while the detector runs
            print(f"frame {name}: {'flagged' if flag else 'not flagged'}")
    print("Annotate these first:", data_filter.query(3, WORST | {"img_error_threshold": None}))
    print(data_filter.scores().groupby("input_id")[["score", "error_proba"]].describe()[[("error_proba", "mean")]])


if __name__ == "__main__":
    if not DATA.is_dir():
        print(f"No KITTI frames in {DATA.resolve()}: set MLD_TEST_DATA to the folder that holds kitti_frames.")
    else:
        main()
