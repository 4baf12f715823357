"""A long run on a real fabric: random faults under traffic, and what must hold all the while."""
