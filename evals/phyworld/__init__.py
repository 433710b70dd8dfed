"""PhyWorld by its own rules: its released files as a suite, its metric and its published numbers beside ours."""
