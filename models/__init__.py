"""Networks and algorithms in plain PyTorch, by pipeline stage. Knows neither the host nor training.

portrait/  IMAGE → Portrait          speech/  sound → Speech          keyframes/  Speech → Keyframes
motion/    Speech (+ Keyframes) → Motion      noise/  Motion → GuidedNoise      render/  Portrait +
Motion → frames
"""
