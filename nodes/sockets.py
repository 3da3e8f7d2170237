"""The types of the sockets: each carries a payload of `models/payloads.py` or a loaded system."""

from .host import io

Portrait = io.Custom("SOLILOQUY_PORTRAIT")  # payloads.Portrait
Speech = io.Custom("SOLILOQUY_SPEECH")  # payloads.Speech
Keyframes = io.Custom("SOLILOQUY_KEYFRAMES")  # payloads.Keyframes
Motion = io.Custom("SOLILOQUY_MOTION")  # payloads.Motion
GuidedNoise = io.Custom("SOLILOQUY_GUIDED_NOISE")  # payloads.GuidedNoise

SpeechEncoder = io.Custom("SOLILOQUY_SPEECH_ENCODER")  # host.Managed with encode()
KeyframeModel = io.Custom("SOLILOQUY_KEYFRAME_MODEL")  # host.Managed with predict()
MotionModel = io.Custom("SOLILOQUY_MOTION_MODEL")  # host.Managed with sample()
Renderer = io.Custom("SOLILOQUY_RENDERER")  # host.Managed with render()

FaceLandmarks = io.Custom(
    "FACE_LANDMARKS"
)  # the host's own, made by its MediaPipe nodes since v0.22
