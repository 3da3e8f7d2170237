"""Stage 3, Speech (and Keyframes) → Motion; the hub between motion spaces."""
