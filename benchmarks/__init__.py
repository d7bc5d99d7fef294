"""`fusewarp bench`: ours, the peers that are installed, and the floors, on the same work."""
