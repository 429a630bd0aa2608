"""Space groups as tensors: Wyckoff positions, templates, expansion, extraction, enumeration."""
