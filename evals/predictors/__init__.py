"""Who continues a clip: models, folders of clips, functions, baselines."""
