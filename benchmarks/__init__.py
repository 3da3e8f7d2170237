"""Scripts behind `python -m soliloquy bench`, with the straightforward implementations they compare against."""
