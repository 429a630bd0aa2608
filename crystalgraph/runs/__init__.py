"""A library call for each command: request in, result out, and the folder that a run leaves."""
