"""From templates to raw crystals: which are drawn, and how they are filled."""
