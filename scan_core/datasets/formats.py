"""The raw formats, by the name that a recipe gives them."""

from scan_core.datasets.ade20k import ADE20K_150, ADE20K_847
from scan_core.datasets.coco_stuff import COCO_STUFF
from scan_core.datasets.folder import FOLDER
from scan_core.datasets.pascal import PASCAL_CONTEXT, PASCAL_VOC

FORMATS = {
    raw_format.name: raw_format
    for raw_format in (COCO_STUFF, ADE20K_150, ADE20K_847, PASCAL_VOC, PASCAL_CONTEXT, FOLDER)
}
