"""Stage 2, Speech → Keyframes."""
