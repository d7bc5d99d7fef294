"""fusewarp for Ray Data."""
