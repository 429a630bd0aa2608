"""Known phases: which count, what they are called, and the hull they span."""
