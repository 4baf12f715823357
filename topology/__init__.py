"""Facts: who is where. Pure values and indexes; imports nothing else of this project."""
