"""What is done with the package from a checkout: benchmarks (`tools.bench`), and scripts that build its files."""
