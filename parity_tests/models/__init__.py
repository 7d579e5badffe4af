"""Any Keras model and its PyTorch port: what they hold, how they map, where they part, and why."""
