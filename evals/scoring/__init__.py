"""From a prediction to numbers: cases, formulas, one clip's scores."""
