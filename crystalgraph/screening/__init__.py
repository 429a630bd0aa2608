"""From a request to ranked candidates: draw, screen, relax, rank."""
