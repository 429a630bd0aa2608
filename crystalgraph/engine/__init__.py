"""Processes that work, on this machine or on a cluster: dask.distributed behind two calls."""
