"""The one list of metrics, and the one of ways to classify, by the names that files have."""

# Metric -> what it is, in the order in which tables show them.
METRICS = {
    "miou": "mean IoU over the classes with ground truth",
    "miou_d2_v06": "sum of the IoU divided by the number of classes with ground truth or "
    "predictions, the rule of the paper",
    "sg_iou": "semantic-guided IoU, its mean by the rule `miou_d2_v06`",
    "miou_seen": "`miou` of the classes that the training vocabulary has",
    "miou_unseen": "`miou` of the classes that it does not have",
    "miou_d2_v06_seen": "`miou_d2_v06` of the classes that the training vocabulary has",
    "miou_d2_v06_unseen": "`miou_d2_v06` of the classes that it does not have",
    "fwiou": "IoU weighted by the class's share of the ground truth",
    "macc": "mean recall of the classes with ground truth",
    "pacc": "share of the pixels with ground truth that are right",
}
# Way of classifying the proposals -> what people read.
MODES = {
    "in_vocabulary": "in-vocabulary only",
    "clip_only": "CLIP only",
    "combined": "combined",
    "chance": "chance",
}
