"""Elements, chemical systems and what compositions are sound."""
