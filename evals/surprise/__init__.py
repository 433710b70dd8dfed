"""Surprise: of a possible clip and its impossible twin, which one does the model find likelier?"""
