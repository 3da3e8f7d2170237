"""ATL-Diff's pictures (Nguyen et al. 2025): from landmark-guided noise to frames by diffusion.

Stage 5. `unet3d.py` is the network of the published weights, whatever its configuration file says;
`network.py` is the identity diffusion U-Net of the paper, which `renderer.py` draws with.
"""
