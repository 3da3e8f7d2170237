"""Stage 1, sound → Speech: reading, features, encoders."""
