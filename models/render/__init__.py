"""Stage 5, Portrait and Motion → frames and video files."""
