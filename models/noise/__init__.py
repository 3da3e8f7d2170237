"""Stage 4, Motion → GuidedNoise."""
