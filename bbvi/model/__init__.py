"""What a user declares: a log joint with latents, data and coordinates."""
