"""Files as others write them, read without running anything in them."""
