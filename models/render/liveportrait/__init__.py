"""LivePortrait as a renderer: 21 implicit keypoints move a feature volume, a generator paints it.

Source: Guo et al., "LivePortrait: Efficient Portrait Animation with Stitching and Retargeting
Control" (2024). `renderer.py` has the stage's contract, every other file one network or one rule.
"""
