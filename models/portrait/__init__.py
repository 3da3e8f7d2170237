"""Stage 0, picture → Portrait: landmarks, crop, paste-back."""
