"""The commands: parse, one library call, rich output."""
