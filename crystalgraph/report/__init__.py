"""A run as one page that can be sent to a colleague, and its main plots as pictures."""
