"""What follows from the facts, and the way to the switches."""
