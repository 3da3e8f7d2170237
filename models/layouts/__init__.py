"""The layouts of weight files, one file of rows per system; `formats.py` collects them."""
