"""The core room: crystals as tensors, their graphs, and what can be said of one crystal or of two."""
