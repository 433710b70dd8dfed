"""The playground: a page on which a scene is drawn and thrown, with the simulator's truth beside the model's dream."""
