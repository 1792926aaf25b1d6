"""Random inputs to the pure core, nearly valid ones above all, and what has to hold for each."""
