"""Site search over the Python documentation: what `make run` shows, and how its adapter was trained."""
