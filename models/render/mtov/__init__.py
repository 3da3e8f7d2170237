"""MToV (MoDiTalker; Kim et al. 2024): landmarks → video by diffusion on tri-planes. Stage 5."""
