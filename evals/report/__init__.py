"""What a person reads: the page, its figures, the tables on a terminal."""
