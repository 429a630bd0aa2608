"""The networks and the trained models made of them."""
