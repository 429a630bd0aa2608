"""crystalgraph: propose, judge and rank new crystals of a chemical system."""

__version__ = "0.1.0"
