"""The miniature world: drawn scenes with natural names, in the raw layouts of the benchmarks.

Everything is a function of (seed, layout, split, number of the image). Textures are stuff,
patterned coloured shapes are things. Some pairs share every pixel, and only their surroundings
tell them apart: the sun and a lamp, sea and pool, cloud and snow, a tent and an igloo.
"""
