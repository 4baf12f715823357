"""What is measured beside this controller."""
