"""What happened: one plain record a step (trace)."""
