"""The networks: the VDT and its block, the autoencoders, what they cost."""
