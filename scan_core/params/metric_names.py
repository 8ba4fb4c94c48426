"""The one table of metrics: the key that files use -> what people read.

`scan_core.evaluation.metrics` computes them; recipes, tables, figures and MLflow name them.
"""

from typing import NamedTuple


class Metric(NamedTuple):
    """What people read of a metric: its name in tables and figures, and what it is."""

    name: str
    description: str


# In the order in which tables show them.
METRICS = {
    "miou": Metric("mIoU", "mean IoU over the classes with ground truth"),
    "miou_d2_v06": Metric(
        "mIoU (d2 v0.6)",
        "sum of the IoU divided by the number of classes with ground truth or predictions, the "
        "rule of the paper",
    ),
    "sg_iou": Metric("SG-IoU", "semantic-guided IoU, its mean by the rule `miou_d2_v06`"),
    "miou_seen": Metric("mIoU, seen", "`miou` of the classes that the training vocabulary has"),
    "miou_unseen": Metric("mIoU, unseen", "`miou` of the classes that it does not have"),
    "miou_d2_v06_seen": Metric(
        "mIoU (d2 v0.6), seen", "`miou_d2_v06` of the classes that the training vocabulary has"
    ),
    "miou_d2_v06_unseen": Metric(
        "mIoU (d2 v0.6), unseen", "`miou_d2_v06` of the classes that it does not have"
    ),
    "hiou": Metric("hIoU", "harmonic mean of `miou_seen` and `miou_unseen`"),
    "hiou_d2_v06": Metric(
        "hIoU (d2 v0.6)",
        "harmonic mean of `miou_d2_v06_seen` and `miou_d2_v06_unseen`, as the release prints it",
    ),
    "fwiou": Metric("fwIoU", "IoU weighted by the class's share of the ground truth"),
    "macc": Metric("mAcc", "mean recall of the classes with ground truth"),
    "pacc": Metric("pAcc", "share of the pixels with ground truth that are right"),
    "pacc_seen": Metric("pAcc, seen", "`pacc` of the pixels of classes that the vocabulary has"),
    "pacc_unseen": Metric("pAcc, unseen", "`pacc` of the pixels of classes that it does not have"),
}
