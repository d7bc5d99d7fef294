"""fusewarp for Grain."""
