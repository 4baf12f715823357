"""The HTTP server in front of the API: strict, with deadlines, and never full of the idle."""
