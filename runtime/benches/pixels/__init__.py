"""Parts of `pixels.py`."""
