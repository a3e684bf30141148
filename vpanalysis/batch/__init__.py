"""Many windows: a plan of reports, run on this machine or on a Dask cluster, each made once."""
