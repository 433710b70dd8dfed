"""Parameter names: the official release's, CompVis's, diffusers' and ours."""
