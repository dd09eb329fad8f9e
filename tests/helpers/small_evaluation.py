"""An evaluation with two maps, two box rules and scores of every threshold policy, for tests of whole runs."""

from functools import partial

import numpy as np

from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.runs.experiment import Evaluation
from wsol.scoring.boxes.every import every
from wsol.scoring.boxes.largest import largest
from wsol.scoring.score import Score
from wsol.scoring.scores.gt_known_loc import gt_known_loc
from wsol.scoring.scores.max_box_acc import max_box_acc
from wsol.scoring.scores.max_box_acc_v2 import max_box_acc_v2
from wsol.scoring.scores.top_k_cls import top_k_cls

EVALUATION = Evaluation(
    maps={"cam": CAM(), "grad_cam": GradCAM()},
    boxes={"largest": largest, "every": every},
    scores={
        "top1_cls": Score(partial(top_k_cls, k=1), "largest", None),
        "max_box_acc": Score(max_box_acc, "largest", "oracle"),
        "max_box_acc_v2": Score(max_box_acc_v2, "every", "oracle"),
        "gt_known_loc": Score(gt_known_loc, "largest", "held_out"),
        "gt_known_loc_20": Score(gt_known_loc, "largest", 0.2),
    },
    thresholds=tuple(np.arange(0, 1, 0.1).round(9).tolist()),
)
