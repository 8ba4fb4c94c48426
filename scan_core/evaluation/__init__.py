"""How good a segmentation is: confusion matrices, the IoU rules of the field, SG-IoU."""
