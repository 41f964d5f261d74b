"""What a fit found, and every figure that follows from it."""
