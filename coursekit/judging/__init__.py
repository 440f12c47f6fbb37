"""What judges share: runs of a scheduler on a simulated engine, and operations on an object."""
