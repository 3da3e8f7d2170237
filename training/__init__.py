"""Data preparation, recipes, losses, measures and the training loop.

Nothing in `models` or `nodes` imports it.
"""
